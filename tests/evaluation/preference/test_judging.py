"""Judges of every kind, over a real server on loopback, and one whose process is killed half way."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rlguide.cli.models._preference import preferred_in
from rlguide.conversation import Response
from rlguide.errors import EngineError
from rlguide.evaluation.comparison.record import Compared, keep_compared
from rlguide.evaluation.preference.judge_prompt import Verdict, load_judge_prompt
from rlguide.evaluation.preference.judging import Judging
from rlguide.evaluation.preference.outcome import Judged, Outcome
from rlguide.evaluation.preference.votes import Election, Vote
from rlguide.html.words import Words
from rlguide.inference.endpoint import Endpoint
from tests.inference.server import Reply, Scripted, completion, serving


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("RLGUIDE_RETRY_SECONDS", "0.01")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "RLGUIDE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def records(n: int = 60) -> list[Compared]:
    """Pairs in which the tuned model's response is right ("good") in two of three, lengths at random."""
    draw = random.Random(3)
    found = []
    for at in range(n):
        good, bad = (f"{word} {at} " + "x" * draw.randrange(400) for word in ("good", "bad"))
        tuned, parent = (good, bad) if at % 3 else (bad, good)
        found.append(
            Compared(
                "file",
                [{"role": "user", "content": f"question {at}"}],
                {"sft": Response(parent, "stop"), "dpo": Response(tuned, "stop")},
            )
        )
    return found


def shown(body: dict[str, Any]) -> tuple[str, str]:
    text = next(m["content"] for m in body["messages"] if m["role"] == "user")
    fence = re.findall(r"<<[0-9a-f]{24}>>", text)[0]
    parts = text.split(fence)
    return parts[4].strip(), parts[6].strip()


def perfect(body: dict[str, Any], place: int) -> Reply:
    first, _ = shown(body)
    return Reply(completion("A" if first.startswith("good") else "B"))


def longer(body: dict[str, Any], place: int) -> Reply:
    first, second = shown(body)
    return Reply(completion("A" if len(first) > len(second) else "B"))


def judged(script: Any, found: list[Compared] | None = None) -> tuple[Outcome, Scripted]:
    with serving(script) as server:
        judging = Judging(found or records(), "dpo", "sft", Endpoint(server.url), load_judge_prompt(), 256)
        return judging.run(), server


def test_a_perfect_judge() -> None:
    outcome, server = judged(perfect)
    assert outcome.counts()["wins"] == 40 and outcome.counts()["losses"] == 20 and len(server.seen) == 120
    assert outcome.win_rate is not None and outcome.win_rate.value == pytest.approx(2 / 3)
    assert outcome.position is not None and outcome.position.hits == 0
    controlled = outcome.controlled.win_rate
    assert controlled is not None and controlled.value == pytest.approx(2 / 3, abs=0.05)


def test_who_always_takes_the_first_prefers_nobody() -> None:
    outcome, _ = judged(lambda body, place: Reply(completion("A")))
    counts = outcome.counts()
    assert counts["ties"] == 60 == counts["flips_to_the_one_shown_first"]
    assert outcome.win_rate is not None and outcome.win_rate.value == 0.5
    assert outcome.position is not None and outcome.position.value == 1


def test_who_takes_the_longer_one_prefers_nobody_at_equal_lengths() -> None:
    found = [
        Compared(
            "file",
            item.prompt,
            {"sft": item.responses["sft"], "dpo": Response(item.responses["dpo"].text + "y" * 90, "stop")},
        )
        for item in records(120)
    ]
    outcome, _ = judged(longer, found)
    assert outcome.win_rate is not None and outcome.win_rate.low > 0.5
    controlled = outcome.controlled.win_rate
    assert controlled is not None and controlled.low < 0.5 < controlled.high
    assert "another verdict" in outcome.verdict


def test_nonsense_is_asked_once_more_and_counted() -> None:
    outcome, server = judged(lambda body, place: Reply(completion("Both are fine, A more so.")))
    assert len(server.seen) == 240 and outcome.counts()["without_a_verdict"] == 60
    assert outcome.win_rate is None and outcome.position is None
    assert "no verdict on dpo against sft: 120 of its 120 replies are not A, B or C" in outcome.verdict
    outcome, server = judged(
        lambda body, place: perfect(body, place) if len(body["messages"]) > 2 else Reply(completion("hm"))
    )
    assert outcome.counts()["wins"] == 40 and outcome.counts()["asked_again"] == 120


def test_the_same_response_is_not_asked() -> None:
    same = [
        Compared("file", item.prompt, {"sft": item.responses["sft"], "dpo": item.responses["sft"]})
        for item in records(6)
    ]
    outcome, server = judged(perfect, [*records(6), *same])
    assert len(server.seen) == 12 and outcome.counts()["ties"] == 6 == outcome.counts()["same_response"]
    assert outcome.position is not None and outcome.position.n == 6


def test_the_plan_counts_what_is_asked() -> None:
    with serving(perfect) as server:
        judging = Judging(records(), "dpo", "sft", Endpoint(server.url), load_judge_prompt(), 256)
        assert judging.plan().startswith("120 calls of the judge, about ")
        judging.run()
        again = Judging(records(), "dpo", "sft", Endpoint(server.url), load_judge_prompt(), 256)
        assert again.plan().startswith("0 calls of the judge (120 more are stored)")
        assert again.run().as_dict() == judging.run().as_dict() and len(server.seen) == 120


def test_a_judge_that_thinks_first_is_given_room() -> None:
    def thinking(body: dict[str, Any], place: int) -> Reply:
        return Reply(completion("<think>hm</think>A" if body["max_tokens"] >= 4096 else "<think>hm"))

    with serving(thinking) as server:
        judge = Endpoint(server.url)
        short, long = (Judging(records(4), "dpo", "sft", judge, load_judge_prompt(), room) for room in (256, 4096))
        assert short.run().without_a_verdict == 4
        assert "8 to 32,768 of output" in long.plan()
        assert long.run().without_a_verdict == 0


def test_the_plan_counts_what_is_asked_again_too() -> None:
    twice = [*records(10), *records(10)]  # the same pair is asked once

    def judging(server: Scripted) -> Judging:
        return Judging(twice, "dpo", "sft", Endpoint(server.url), load_judge_prompt(), 256)

    def broken(body: dict[str, Any], place: int) -> Reply:
        once_more = len(body["messages"]) > 3
        return Reply({"error": "no"}, status=403) if once_more else Reply(completion("hm"))

    with serving(broken) as server:
        first = judging(server)
        assert first.plan().startswith("20 calls of the judge, about ")
        assert "one more call for each reply that is no verdict" in first.plan()
        with pytest.raises(EngineError):
            first.run()
        server.script = lambda body, place: Reply(completion("hm"))
        before, again = len(server.seen), judging(server)
        assert again.plan().startswith("20 calls of the judge (40 more are stored)") and "one more" not in again.plan()
        asked = again.missing
        assert again.run().win_rate is None
        assert {str(body["messages"]) for body in server.seen[before:]} == set(map(str, asked))
        assert judging(server).plan().startswith("0 calls of the judge (40 more are stored)")


_PROGRAM = """
import sys
from pathlib import Path
from rlguide.evaluation.comparison.record import read_compared
from rlguide.evaluation.preference.judge_prompt import load_judge_prompt
from rlguide.evaluation.preference.judging import Judging
from rlguide.inference.endpoint import Endpoint
found = read_compared(Path(sys.argv[1]))
print(Judging(found, "dpo", "sft", Endpoint(sys.argv[2]), load_judge_prompt(), 256).run().counts()["wins"])
"""


def test_what_was_judged_before_a_kill_is_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-Zq7Lw9Xk2Vb4"
    monkeypatch.setenv("RLGUIDE_API_KEY", key)

    def script(body: dict[str, Any], place: int) -> Reply:
        reply = perfect(body, place)
        reply.after = 0.03
        return reply

    keep_compared(tmp_path, records())
    with serving(script) as server:
        command = [sys.executable, "-c", _PROGRAM, str(tmp_path), server.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            while len(server.seen) < 60:
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
        done = subprocess.run(command, capture_output=True, check=True)
        assert done.stdout.strip() == b"40"
        # In flight when it was killed: four, and what came but was not written yet.
        assert 120 <= len(server.seen) <= 120 + 8
        assert all(head["Authorization"] == f"Bearer {key}" for head in server.heads)
    assert not any(key in file.read_text() for file in tmp_path.rglob("*") if file.is_file())


def test_verdicts_on_few_of_the_pairs_are_no_win_rate_of_all() -> None:
    same = [Judged(f"s{at}", "tie", "tie", (1, 1), same=True) for at in range(5)]
    unread = [Judged(f"u{at}", None, "first", (1, 1)) for at in range(5)]
    assert Outcome("m", "n", "judge", same, 0).win_rate is not None
    assert Outcome("m", "n", "judge", [*same, *unread], 0).win_rate is None
    some = [Judged(f"r{at}", "first", "first", (1, 1)) for at in range(5)]
    assert "no verdict on 5 of 10 pairs" in Outcome("m", "n", "judge", [*some, *unread], 0).verdict


@pytest.mark.parametrize("kind", ["win", "tie", "none", "some", "longer", "few"])
def test_what_is_said_is_said_in_chinese(kind: str) -> None:
    words = Words("zh")
    sides: dict[str, tuple[Verdict | None, Verdict | None]] = {
        "win": ("first", "first"),
        "tie": ("first", "second"),
        "none": (None, "first"),
    }
    there, back = sides.get(kind, ("first", "first"))
    found = [Judged(f"k{at}", there, back, (9 + at, 7 if kind == "longer" else 9 + at % 40)) for at in range(60)]
    if kind == "some":
        found[:20] = [Judged(f"n{at}", None, None, (9, 9)) for at in range(20)]
    found += [Judged(f"l{at}", "second", "second", (9, 7)) for at in range(0 if kind in ("none", "few") else 15)]
    outcome = Outcome("m 1", "m 0", "judge", found, 0)
    votes = [Vote(item.key, name, "model", "m 1", "m 0", "model", 0) for item in found for name in ("ann", "bo")]
    page = preferred_in([outcome], [Election("m 1", "m 0", votes, 60), Election("m 1", "m 0", [], 60)])
    said = [text for item in page for text in (item.by, *(row[0] for row in item.rows), *item.sentences)]
    assert len(said) > 9 and [text for text in said if words.sentence(text) is None] == []
