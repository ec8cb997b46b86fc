"""A reward on every row of a file; the engine here is a small script (the real one: tests/e2e/test_reward_model.py).

Its reward of a response is the number of characters in it, plus a hundredth of the number of messages before it.
"""

from __future__ import annotations

import json
import shlex
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from rlguide.cli import main
from rlguide.data.ingest.options import IngestOptions
from rlguide.engine.find import Engine
from rlguide.errors import CheckpointError, EngineError, UsageError
from rlguide.evaluation.rewards.model import RewardModel, find_reward_model
from rlguide.evaluation.rewards.score import Wanted, score_file
from rlguide.evaluation.rewards.server import ScoreServer
from rlguide.inference.address import OPENAI_KEY, OWN_KEY
from rlguide.statistics import mean, wins
from rlguide.workspace import Workspace
from tests.policy.checkpoint_files import write_lora, write_model, write_safetensors

RM = "saves/tiny/lora/rm"
WORKER = """#!{python}
import json, os, sys
from pathlib import Path
arguments, mode = json.loads(sys.argv[2]), sys.argv[3]
here = Path({folder!r})
(here / "arguments.json").write_text(json.dumps(arguments))
print(json.dumps({{"phase": "loading"}}), flush=True)
stop = int((here / "stop").read_text()) if (here / "stop").exists() else None
for number, line in enumerate(sys.stdin):
    if number == stop:
        raise RuntimeError("the GPU is gone")
    request = json.loads(line)
    with (here / "asked").open("a") as file:
        file.write(line)
    index, messages, responses = request["index"], request["messages"], request["responses"]
    if any("refused" in response for response in responses):
        answer = {{"index": index, "error": "the template refuses it"}}
    elif mode == "texts":
        answer = {{"index": index, "texts": [json.dumps([len(messages), response]) for response in responses],
                   "tokens": [len(response) for response in responses], "cut": 0}}
    else:
        rewards = [float("nan") if "NaN" in one else len(one) + len(messages) / 100 for one in responses]
        answer = {{"index": index, "rewards": rewards, "cut": 7 * any(len(one) > 20 for one in responses)}}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A base, an SFT adapter and a finished reward model on top of it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "我的 project"
    write_model(root / "models/tiny-base")
    for name in ("sft", "rm"):
        write_lora(root / "saves/tiny/lora" / name)
    write_safetensors(root / RM / "value_head.safetensors", {"v_head.summary.weight": (1, 16)})
    record = {
        "method": "rm",
        "status": "finished",
        "base": "models/tiny-base",
        "template": "qwen3_nothink",
        "stack": ["saves/tiny/lora/sft", RM],
        "reference": {"base": "models/tiny-base", "adapters": ["saves/tiny/lora/sft"]},
        "config": {"stage": "rm", "template": "qwen3_nothink", "cutoff_len": 64, "default_system": "Be kind."},
    }
    (root / RM / "run.json").write_text(json.dumps(record))
    monkeypatch.chdir(root)
    return Workspace(root)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    python = tmp_path / "engine/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(WORKER.format(python=sys.executable, folder=str(tmp_path)))
    python.chmod(0o755)
    return Engine(python, {"llamafactory": "0.9.5"})


@pytest.fixture
def model(ws: Workspace, engine: Engine) -> RewardModel:
    return find_reward_model(ws, engine, None, None, False, False)


@pytest.fixture
def score(model: RewardModel, ws: Workspace) -> Callable[..., tuple[list[dict[str, Any]], dict[str, Any]]]:
    """Scores rows that are written into a file first; gives the rows with their rewards, and the summary."""

    def run(rows: list[Any], used: RewardModel = model, name: str = "reward") -> Any:
        file = ws.root / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        out = ws.root / "out.jsonl"
        summary = score_file(used, Wanted(file, IngestOptions(), name), out)
        return [json.loads(line) for line in out.read_text("utf-8").splitlines()], summary.as_dict()

    return run


def asked(tmp_path: Path) -> list[dict[str, Any]]:
    """What the engine was asked."""
    path = tmp_path / "asked"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


PAIRS = [
    {"id": 1, "prompt": "a?", "chosen": "longer", "rejected": "short"},
    {"id": 2, "prompt": "b?", "chosen": "no", "rejected": "not at all"},
    {"id": 3, "prompt": "c?", "chosen": "four", "rejected": "five"},
    {"id": 4, "prompt": "d?", "chosen": "x" * 30, "rejected": "y"},
]


def test_pairs_get_two_rewards_and_an_accuracy(score: Any, tmp_path: Path) -> None:
    rows, said = score(PAIRS)
    for row, pair in zip(rows, PAIRS, strict=True):
        rewards = [len(str(pair[side])) + 0.01 for side in ("chosen", "rejected")]
        cut = 7 if pair["id"] == 4 else 0
        assert row == {**pair, "chosen_reward": rewards[0], "rejected_reward": rewards[1], "reward_cut": cut}
    margins = [1.0, -8.0, 0.0, 29.0]
    assert said["accuracy"] == wins(margins)[0].as_dict()
    assert said["accuracy"]["value"] == 0.625  # two right, one tie
    assert said["margin"]["value"] == pytest.approx(mean(margins).value)
    assert (said["rows"], said["scored"], said["cut"], said["unscored"]) == (4, 4, 1, {})
    told = json.loads((tmp_path / "arguments.json").read_text())
    assert told["adapter_name_or_path"] == f"saves/tiny/lora/sft,{RM}"  # the whole stack
    expected = {"stage": "rm", "template": "qwen3_nothink", "cutoff_len": 64, "default_system": "Be kind."}
    assert {key: told[key] for key in expected} == expected
    assert asked(tmp_path)[0]["messages"] == [{"role": "user", "content": "a?"}]


CONVERSATION = [
    {"role": "system", "content": "Short."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Why?"},
]


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        ({"prompt": "Why?", "response": "Because."}, [{"role": "user", "content": "Why?"}]),
        ({"instruction": "Why?", "output": "Because.", "score": 3}, [{"role": "user", "content": "Why?"}]),
        ({"messages": [*CONVERSATION, {"role": "assistant", "content": "Because."}], "x": None}, CONVERSATION),
        ({"prompt": "Why?", "response": "Because.", "label": False}, [{"role": "user", "content": "Why?"}]),
    ],
)
def test_single_responses_of_any_shape_get_one(
    score: Any, tmp_path: Path, row: dict[str, Any], messages: list[dict[str, str]]
) -> None:
    rows, said = score([row])
    assert rows == [{**row, "reward": 8 + len(messages) / 100, "reward_cut": 0}]
    assert asked(tmp_path) == [{"index": 0, "messages": messages, "responses": ["Because."]}]
    assert said["reward"]["value"] == rows[0]["reward"]
    assert "accuracy" not in said


def test_rows_that_cannot_be_scored_get_null_and_are_counted(score: Any, ws: Workspace, model: RewardModel) -> None:
    good = [{"prompt": f"{number}?", "response": "yes"} for number in range(3)]
    bad = [{"prompt": "?", "response": "NaN"}, {"prompt": "?", "response": "refused"}, {"prompt": "?", "response": " "}]
    rows, said = score([*good, *bad])
    assert [row["reward"] for row in rows] == [3.01, 3.01, 3.01, None, None, None]
    assert [row.get("reward_missing") for row in rows[3:]] == [
        "its reward is not a number (NaN or infinity)",
        "the template refuses it",
        "the response is empty",
    ]
    assert (said["rows"], said["scored"]) == (6, 3)
    assert said["unscored"] == {row["reward_missing"]: 1 for row in rows[3:]}
    file = ws.root / "broken.jsonl"
    file.write_text('{"prompt": "a?", "response": "yes"}\n{"prompt": \n{"prompt": "b?", "response": "no"}\n')
    summary = score_file(model, Wanted(file, IngestOptions()), ws.root / "out.jsonl")
    lines = [json.loads(line) for line in (ws.root / "out.jsonl").read_text().splitlines()]
    assert [row["reward"] for row in lines] == [3.01, None, 2.01]
    assert lines[1]["line"] == 2
    assert sum(summary.unscored.values()) == 1


def test_what_was_scored_before_a_failure_is_not_scored_again(score: Any, tmp_path: Path, ws: Workspace) -> None:
    rows = [{"prompt": f"{number}?", "response": "x" * number} for number in range(1, 9)]
    (tmp_path / "stop").write_text("5")
    with pytest.raises(EngineError, match="the GPU is gone"):
        score(rows)
    assert not (ws.root / "out.jsonl").exists()
    (tmp_path / "stop").unlink()
    found, _ = score(rows)
    assert [row["reward"] for row in found] == [number + 0.01 for number in range(1, 9)]
    assert [item["messages"][0]["content"] for item in asked(tmp_path)] == [f"{number}?" for number in range(1, 9)]
    again, _ = score(list(reversed(rows)))
    assert again == list(reversed(found))
    assert len(asked(tmp_path)) == 8  # nothing was asked: all is known


def test_another_step_or_another_adapter_is_another_reward_model(score: Any, ws: Workspace, engine: Engine) -> None:
    row = [{"prompt": "a?", "response": "yes"}]
    before = find_reward_model(ws, engine, RM, None, False, False).identity()
    score(row)
    path = ws.root / RM / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    assert find_reward_model(ws, engine, RM, None, False, False).identity() != before


def test_equal_rows_are_scored_once(score: Any, tmp_path: Path) -> None:
    rows, _ = score([{"prompt": "a?", "response": "yes", "id": number} for number in range(20)])
    assert [row["id"] for row in rows] == list(range(20))
    assert {row["reward"] for row in rows} == {3.01}
    assert len(asked(tmp_path)) == 1


def test_a_field_of_the_row_is_never_replaced(score: Any) -> None:
    rows = [{"prompt": "a?", "response": "yes", "reward": 5}]
    with pytest.raises(UsageError, match=r"line 1 of .* has a field reward already") as caught:
        score(rows)
    name = shlex.split(caught.value.fix.partition(": ")[2])[1]
    found, _ = score(rows, name=name)
    assert found == [{**rows[0], name: 3.01, f"{name}_cut": 0}]


def test_a_parquet_file_keeps_its_columns(model: RewardModel, ws: Workspace) -> None:
    columns = {"prompt": ["a?", "b?"], "chosen": ["yes", "y"], "rejected": ["no", "n"], "more": [[1, 2], []]}
    pq.write_table(pa.table(columns), ws.root / "rows.parquet")
    score_file(model, Wanted(ws.root / "rows.parquet", IngestOptions()), ws.root / "out.jsonl")
    first, second = (json.loads(line) for line in (ws.root / "out.jsonl").read_text().splitlines())
    assert (first["more"], first["chosen_reward"], first["rejected_reward"]) == ([1, 2], 3.01, 2.01)
    assert (second["more"], second["chosen_reward"]) == ([], 1.01)


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(lambda text: text.strip())


@examples(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.fixed_dictionaries({"prompt": TEXTS, "response": TEXTS, "note": st.text(max_size=5)}), min_size=1))
def test_the_rows_come_back_as_they_were(score: Any, rows: list[dict[str, str]]) -> None:
    rows = [row for row in rows if "NaN" not in row["response"] and "refused" not in row["response"]] or [
        {"prompt": "a", "response": "b", "note": "c"}
    ]
    found, said = score(rows)
    assert [{key: row[key] for key in ("prompt", "response", "note")} for row in found] == rows
    assert [row["reward"] for row in found] == [len(row["response"]) + 0.01 for row in rows]
    assert said["scored"] == len(rows)


@pytest.fixture
def server() -> Iterator[Any]:
    """A server that scores as the engine above; `codes` are the statuses of its next responses, `bonus` is added."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            state.seen.append((self.path, self.headers.get("Authorization"), json.loads(raw)))
            code = state.codes.pop(0) if state.codes else 200
            texts = [json.loads(text) for text in json.loads(raw)["messages"]]
            scores = [len(text) + messages / 100 + state.bonus for messages, text in texts]
            body = state.body if state.body is not None else json.dumps({"scores": scores}).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        codes: list[int]
        seen: list[Any]
        bonus = 0.0
        body: bytes | None = None

    state = Server(("127.0.0.1", 0), Handler)
    state.codes, state.seen = [], []
    threading.Thread(target=state.serve_forever, daemon=True).start()
    yield state
    state.shutdown()
    state.server_close()


@pytest.fixture
def behind(server: Any, model: RewardModel, monkeypatch: pytest.MonkeyPatch) -> RewardModel:
    monkeypatch.setattr("rlguide.inference.wire.Caller._sleep", lambda caller, seconds: None)
    for name in (OWN_KEY, OPENAI_KEY):
        monkeypatch.delenv(name, raising=False)
    return replace(model, server=ScoreServer(f"http://127.0.0.1:{server.server_port}/v1"))


def test_a_server_gives_the_same_rewards(score: Any, server: Any, behind: RewardModel) -> None:
    here, _ = score(PAIRS)
    there, _ = score(PAIRS, behind)
    keys = ("id", "chosen_reward", "rejected_reward")
    assert [[row[key] for key in keys] for row in there] == [[row[key] for key in keys] for row in here]
    ((path, authorization, body),) = server.seen
    assert (path, authorization) == ("/v1/score/evaluation", None)
    assert body["max_length"] == 30  # tokens of the longest, so that the server never cuts
    assert len(body["messages"]) == 8


def test_a_server_that_is_busy_is_asked_again(score: Any, server: Any, behind: RewardModel) -> None:
    server.codes = [503, 429, 500]
    rows, _ = score(PAIRS[:1], behind)
    assert rows[0]["chosen_reward"] == 6.01
    assert len(server.seen) == 4


def test_a_server_that_holds_another_model_by_now_is_noticed(
    score: Any, server: Any, behind: RewardModel, capsys: pytest.CaptureFixture[str]
) -> None:
    score(PAIRS, behind)
    server.seen.clear()
    rows, _ = score(PAIRS, behind)
    assert [len(body["messages"]) for _, _, body in server.seen] == [2]  # one row, to see whether it is the same
    server.bonus = 1.0
    rows, _ = score(PAIRS, behind)
    assert [row["chosen_reward"] for row in rows] == [7.01, 3.01, 5.01, 31.01]
    assert "scored anew" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "body", "what"),
    [
        (401, b"{}", "the key is refused"),
        (404, b"{}", "does not score texts"),
        (405, b"{}", "does not score texts"),
        (400, b"no", "refuses a request (HTTP 400)"),
        (200, b"[" * 100_000, "gave no response"),
        (200, b'{"scores": [1]}', "gave no rewards"),
        (200, b'{"scores": "12"}', "gave no rewards"),
        (302, b"", "redirects"),
    ],
)
def test_what_a_server_gives_instead(
    score: Any, server: Any, behind: RewardModel, monkeypatch: pytest.MonkeyPatch, code: int, body: bytes, what: str
) -> None:
    monkeypatch.setenv(OWN_KEY, "sk-thisIsAKey")
    server.codes, server.body = [code], body
    with pytest.raises(EngineError) as caught:
        score(PAIRS[:1], behind)
    assert what in caught.value.what
    assert "sk-thisIsAKey" not in caught.value.what + caught.value.fix
    assert server.seen[0][1] == "Bearer sk-thisIsAKey"


@pytest.mark.parametrize("number", ["1" + "0" * 400, "NaN", '"7"', "null", "[[1.5, 2]]"])
def test_a_reward_that_is_no_number_is_null(score: Any, server: Any, behind: RewardModel, number: str) -> None:
    server.body = f'{{"scores": [[1.5], {number}]}}'.encode()
    rows, said = score(PAIRS[:1], behind)
    assert (rows[0]["chosen_reward"], rows[0]["rejected_reward"]) == (None, None)
    assert (said["scored"], sum(said["unscored"].values())) == (0, 1)


def test_no_server_at_all(score: Any, server: Any, behind: RewardModel) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(EngineError, match="cannot reach http://127"):
        score(PAIRS[:1], behind)


def test_what_is_refused(ws: Workspace, engine: Engine, model: RewardModel, tmp_path: Path) -> None:
    file = ws.root / "rows.jsonl"
    file.write_text(json.dumps(PAIRS[0]) + "\n")
    with pytest.raises(UsageError, match="is the file that is scored"):
        score_file(model, Wanted(file, IngestOptions()), file)
    with pytest.raises(UsageError, match="is a folder"):
        score_file(model, Wanted(file, IngestOptions()), ws.root / "saves")
    with pytest.raises(UsageError, match="--field is empty"):
        score_file(model, Wanted(file, IngestOptions(), " "), None)
    assert not (tmp_path / "asked").exists()  # all of it before anything is scored
    for address in ("127.0.0.1:8000", "https://", "ftp://x"):
        with pytest.raises(UsageError, match="not the address of an endpoint"):
            ScoreServer(address)
    (ws.root / RM / "value_head.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no value_head\.safetensors"):
        find_reward_model(ws, engine, RM, None, False, False)
    record = ws.root / RM / "run.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "method": "dpo"}))
    with pytest.raises(UsageError, match="is a policy"):
        find_reward_model(ws, engine, RM, None, False, False)
    with pytest.raises(UsageError) as none:
        find_reward_model(ws, engine, None, None, False, False)
    assert "rlguide train --method rm" in none.value.fix


def run(*arguments: str) -> int:
    """The command line's exit code."""
    try:
        return main(arguments)
    except SystemExit as end:
        return int(end.code or 0)


def test_the_command(
    ws: Workspace, engine: Engine, server: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rlguide.engine.find.find_engine", lambda given: engine)
    (ws.root / "rows.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    assert run("score", "rows.jsonl", "--reward-model", RM) == 0
    plain = capsys.readouterr()
    assert [json.loads(line)["chosen_reward"] for line in plain.out.splitlines()] == [6.01, 2.01, 4.01, 30.01]
    assert "accuracy: 0.6250" in plain.err and "cut, as in training: 1 rows (25.0%)" in plain.err
    assert run("score", "rows.jsonl", "--json") == 2
    fix = capsys.readouterr().err.splitlines()[-1]
    assert fix.endswith("--output FILE")
    assert run("score", "rows.jsonl", "--json", "--output", "out.jsonl") == 0
    assert json.loads(capsys.readouterr().out)["accuracy"]["value"] == 0.625
    assert (ws.root / "out.jsonl").read_text() == plain.out
    address = f"http://127.0.0.1:{server.server_port}/v1"
    assert run("score", "rows.jsonl", "--reward-model", RM, "--endpoint", address, "-o", "there.jsonl") == 0
    there = [json.loads(line)["chosen_reward"] for line in (ws.root / "there.jsonl").read_text().splitlines()]
    assert there == [6.01, 2.01, 4.01, 30.01] and len(server.seen) == 1
