"""Stands for rlguide_worker/chat.py: the same JSON lines, without a model.

What it says is written in the last prompt: `say TEXT` (\\n is a line break) comes in small pieces, `slowly TEXT` too,
but with a pause after each word, `endless` never ends, `deaf` ends a second after it was stopped, `fail` is an error,
`die` ends the process, `nothing` is an empty response; any other prompt is repeated, with the number of messages and
what model it is.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

stopped = threading.Event()
requests: list[Any] = []
came = threading.Condition()


def send(event: str, **values: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **values}) + "\n")
    sys.stdout.flush()


def read() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("stop"):
            stopped.set()
        else:
            stopped.clear()
            with came:
                requests.append(request)
                came.notify()
    os._exit(0)


def pieces(prompt: str, messages: list[dict[str, str]], who: str) -> Any:
    kind, _, rest = prompt.partition(" ")
    text = rest.replace("\\n", "\n").replace("\\e", "\x1b")
    if kind == "say":
        yield from (text[at : at + 3] for at in range(0, len(text), 3))
    elif kind == "slowly":
        for word in text.split(" "):
            yield word + " "
            stopped.wait(0.15)
    elif kind == "endless":
        for number in range(100_000):
            yield f"word{number} " if number % 20 else f"word{number}\n\n"
            stopped.wait(0.01)
    elif kind == "deaf":
        yield "deaf "
        stopped.wait()
        time.sleep(1.0)
    elif kind == "fail":
        raise RuntimeError("the fake worker was told to fail")
    elif kind == "die":
        os._exit(3)
    elif kind != "nothing":
        system = next((item["content"] for item in messages if item["role"] == "system"), "")
        yield f"{who} heard {prompt!r} as message {len(messages)}" + (f" with {system!r}" if system else "")


def main() -> None:
    args = json.loads(sys.stdin.readline())["args"]
    who = str(args.get("adapter_name_or_path", "the base")).split(",")[-1]
    if log := os.environ.get("FAKE_LOG"):
        with open(log, "a") as file:  # noqa: PTH123
            file.write(f"loaded {who}\n")
    threading.Thread(target=read, daemon=True).start()
    send("ready", device="cpu", parameters=1000, bytes=8_000_000_000)
    while True:
        with came:
            came.wait_for(lambda: requests)
            request = requests.pop(0)
        messages, wanted = request["messages"], request["generation"]
        count, reason = 0, "stop"
        try:
            for piece in pieces(messages[-1]["content"], messages, who):
                send("delta", text=piece)
                count += 1
                if stopped.is_set() or count >= wanted["max_new_tokens"]:
                    reason = "stopped" if stopped.is_set() else "length"
                    break
        except RuntimeError as error:
            send("error", kind="RuntimeError", text=str(error))
            continue
        time.sleep(0.01)
        send("done", reason=reason)


if __name__ == "__main__":
    main()
