# ruff: noqa: T201
"""`ssh` as a program on PATH that reaches "hosts" on this one: what it would run there it runs here.

usage: stand_in.py ARGUMENTS OF SSH. STAND_IN names a folder: HOST.json says what is other there: {"refused": what ssh
says}, {"hangs": true} it never answers, {"answer": what the check finds otherwise}, {"lost": SECONDS} its
next training ends with the connection, and those after it are not held up (FAKE_TRAINER); {"moved": a path that is not
there}.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from zlib import crc32


def main() -> int:
    words = sys.argv[1:]
    folder = Path(os.environ["STAND_IN"])
    if "-G" in words:
        print(f"user me\nhostname address-of-{words[-1]}\nport 22")
        return 0
    target, remote = words[words.index("--") + 1 :]
    with (folder / "commands").open("a") as log:
        log.write(json.dumps(words) + "\n")
    path = folder / f"{target}.json"
    told = json.loads(path.read_text()) if path.exists() else {}
    if refused := told.get("refused"):
        print(refused, file=sys.stderr)
        return 255
    if told.get("hangs"):
        (folder / f"{target}.pid").write_text(str(os.getpid()))
        time.sleep(600)
    kept = {"PATH": os.environ["PATH"], "STAND_IN": str(folder), "HOME": str(folder)}
    port = 1024 + crc32(target.encode()) % 60000  # another sshd for each host
    here = {
        **kept,
        "STAND_IN_HOST": target,
        "SSH_CONNECTION": f"127.0.0.1 1 127.0.0.1 {port}",
        "FAKE_TRAINER": os.environ.get("FAKE_TRAINER", ""),
    }
    if moved := told.get("moved"):
        remote = remote.replace(moved, moved + " elsewhere")
    if "run_node" not in remote:
        done = subprocess.run(["sh", "-c", remote], env=here, stdout=subprocess.PIPE)
        for line in done.stdout.decode().splitlines():
            print(changed(line, told.get("answer", {})))
        return done.returncode
    with subprocess.Popen(["sh", "-c", remote], env=here) as process:
        if told.get("lost"):
            path.write_text("{}")
            time.sleep(float(told["lost"]))
            Path(os.environ["FAKE_TRAINER"]).write_text(json.dumps({"rows": 40, "fail": []}))
            process.kill()
            print("Connection to it closed by remote host.", file=sys.stderr)
            return 255
        code = process.wait()
    return code if code >= 0 else 255


def changed(line: str, answer: dict[str, object]) -> str:
    """A line that a check prints, with what is other on this host."""
    if not line.startswith("FOUND "):
        return line
    found = json.loads(line.removeprefix("FOUND "))
    for key, value in answer.items():
        found[key] = {**found[key], **value} if isinstance(value, dict) else value
    return f"FOUND {json.dumps(found)}"


if __name__ == "__main__":
    sys.exit(main())
