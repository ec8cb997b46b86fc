"""Models beside the first one: identities of the counts, and what is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.conversation import Response
from rlguide.errors import UsageError
from rlguide.evaluation.asked import SIZES
from rlguide.evaluation.comparison.compare import RESULT, compare, comparison_of, default_name, resolution
from rlguide.evaluation.comparison.figures import share
from rlguide.evaluation.comparison.prompts import Prompt, prompts_of_file, prompts_of_suite
from rlguide.evaluation.comparison.record import FILE, Compared, read_compared
from rlguide.inference.store import stored_responses
from rlguide.workspace import Workspace
from tests.evaluation.comparison.models import Scripted

TEXTS = [f"What is the name of tree number {number} in the park?" for number in range(12)] + [
    f"公园里第{number}棵树叫什么名字？" for number in range(12)
]
PROMPTS = [Prompt(FILE, [{"role": "user", "content": text}]) for text in TEXTS]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Scripted.loaded.clear()


def echo(text: str) -> str:
    return f"Well: {text}"


texts = st.text(st.characters(codec="utf-8"), max_size=30)
responses = st.builds(Response, texts, st.sampled_from(["stop", "length"]))


@given(st.lists(st.tuples(texts, responses), min_size=1, max_size=14))
def test_a_model_beside_itself_differs_in_nothing(rows: list[tuple[str, Response]]) -> None:
    records = [
        Compared("instructions", [{"role": "user", "content": text}], {"a": response, "b": response, "c": response})
        for text, response in rows
    ]
    found = comparison_of("x", Path("x"), {}, 9, records)
    for item in found.against:
        assert item.same.value == 1
        assert {line.difference.value for line in item.lines} == {0.0}
        assert all(line.difference.low == -line.difference.high for line in item.lines)
        assert all(line.is_better is None for line in item.lines)
        assert item.verdict == f"{item.model} gives the same response as a to every prompt"


def test_each_figure_counts_what_it_says(tmp_path: Path) -> None:
    def worse(text: str) -> str:
        number = TEXTS.index(text)
        kinds: list[Callable[[], str]] = [
            lambda: "很抱歉，我无法回答这个问题。" if number >= 12 else "I'm sorry, but I cannot help with that.",
            lambda: "",
            lambda: "again and " * 60,
            lambda: echo(text),
        ]
        return kinds[number % 4]()

    models = {"a": Scripted("a", echo), "b": Scripted("b", worse)}
    found = compare(Workspace(tmp_path), models, PROMPTS, 400)
    (item,) = found.against
    lines = {line.name: line for line in item.lines}
    for name in ("refusals", "empty responses", "loops", "cut responses"):
        assert (lines[name].parent, lines[name].tuned) == (0, 0.25), name
        assert lines[name].difference.value == 0.25
        assert lines[name].difference.low > 0 or name != "loops"  # 6 of 6 that differ: told from chance
    assert lines["language switches"].tuned == pytest.approx(3 / 24)  # loops in English to Chinese prompts
    assert item.same.hits == 6
    assert (lines["loops"].is_better, lines["refusals"].is_better) == (False, None)
    assert "MORE loops (+25.0 points)" in item.verdict and "more refusals" in item.verdict
    assert "1 in 20 leaves out 0" in found.verdicts[-1]
    assert read_compared(found.folder) == found.records
    written = json.loads((found.folder / RESULT).read_text())
    assert written == json.loads(json.dumps(found.as_dict()))
    assert written["summary"] == found.verdicts


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_a_share_mirrors_and_holds_its_value(pairs: list[tuple[bool, bool]]) -> None:
    before, after = map(list, zip(*pairs, strict=True))
    there, back = share("x", before, after, "more").difference, share("x", after, before, "more").difference
    assert there.low <= there.value <= there.high
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))


@pytest.mark.parametrize(("decided", "is_told"), [(3, False), (5, False), (6, True)])
def test_few_prompts_claim_nothing(decided: int, is_told: bool) -> None:
    """The two-sided sign test at 5 %: 5 of 5 has p = 0.06, 6 of 6 has p = 0.03."""
    line = share("x", [False] * decided, [True] * decided, "more")
    assert (line.is_better is True) == is_told


def test_means_of_few_prompts_have_no_interval(tmp_path: Path) -> None:
    models = {"a": Scripted("a", echo), "b": Scripted("b", lambda text: echo(text) + " More of it.")}
    found = compare(Workspace(tmp_path), models, PROMPTS[:3], 400)
    length = next(line for line in found.against[0].lines if line.name == "length")
    assert (length.difference.value, length.interval, length.is_better) == (3, "", None)
    assert found.verdicts[0] == "beside a, b shows no difference beyond chance"
    assert found.as_dict()["against_first"][0]["figures"][0]["difference"]["ci95_low"] is None


def test_what_was_asked_before_loads_no_model(tmp_path: Path) -> None:
    """Also what `rlguide eval` asked, which asks through the same store."""
    ws = Workspace(tmp_path)
    stored_responses(Scripted("a", echo), [prompt.messages for prompt in PROMPTS], 50)
    a, b = Scripted("a", echo), Scripted("b", echo)
    first = compare(ws, {"a": a, "b": b}, PROMPTS, 50)
    assert (a.entered, b.entered) == (0, 1)
    again = Scripted("b", echo)
    assert compare(ws, {"a": a, "b": again}, PROMPTS, 50).records == first.records
    assert again.entered == 0
    compare(ws, {"a": a, "b": again}, PROMPTS, 20)
    assert (a.asked, again.asked) == (24, 24)  # another length


def test_an_interruption_loses_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        compare(Workspace(tmp_path), {"a": Scripted("a", echo), "b": Scripted("b", echo, 5)}, PROMPTS, 50)
    assert not Scripted.loaded
    a, b = Scripted("a", echo), Scripted("b", echo)
    compare(Workspace(tmp_path), {"a": a, "b": b}, PROMPTS, 50)
    assert (a.asked, b.asked) == (0, 19)


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", "a\x1bb", "字" * 80])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    models = {"a": Scripted("a", echo), "b": Scripted("b", echo)}
    if name:
        with pytest.raises(UsageError):
            compare(Workspace(tmp_path), models, PROMPTS, 50, name)
    usual = default_name([name, "/etc/passwd"])
    assert usual.count("/") == 0 and not default_name([name]).startswith(".")
    assert compare(Workspace(tmp_path), models, PROMPTS, 50, usual).folder.is_dir()


def test_instructions_are_counted_as_eval_counts_them(tmp_path: Path) -> None:
    def none() -> None:
        raise AssertionError

    prompts = prompts_of_suite(Workspace(tmp_path), none, None, SIZES["quick"], 20)  # type: ignore[arg-type]
    assert len(prompts) == 20 and {prompt.source for prompt in prompts} == {"instructions"}
    found = compare(Workspace(tmp_path), {"a": Scripted("a", echo), "b": Scripted("b", lambda text: "")}, prompts, 99)
    names = [line.name for line in found.against[0].lines][-2:]
    assert names == ["English instructions followed", "Chinese instructions followed"]
    assert all(line.tuned == 0 for line in found.against[0].lines[-2:])  # an empty response follows none


def test_the_first_prompts_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("\n".join(f"prompt {number}" for number in range(300)))
    assert len(prompts_of_file(file)) == 200
    assert "the first 200 prompts" in capsys.readouterr().err
    assert [prompt.messages[0]["content"] for prompt in prompts_of_file(file, 2)] == ["prompt 0", "prompt 1"]


def test_what_can_be_resolved_is_said() -> None:
    assert "too few" in resolution(3)
    assert "no difference of a share" in resolution(30)
    assert "a win rate of 64 %" in resolution(100) and "12 points of a share" in resolution(100)
