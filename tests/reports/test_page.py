"""The page of a run: it says what the files say, whatever they say, and what is missing."""

from __future__ import annotations

import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer

from rlguide.cli import build_app
from rlguide.errors import UsageError
from rlguide.evaluation.divergence import FAR, LIMIT
from rlguide.evaluation.lines import Line
from rlguide.html.charts import shown
from rlguide.reports.figures import ends_of
from rlguide.reports.page import report_page, write_report
from rlguide.runs.diagnosis.finding import Finding
from rlguide.runs.record import Run, open_run
from rlguide.runs.verdict import Verdict
from rlguide.statistics import Estimate, proportion
from rlguide.workspace import Workspace
from tests.cli.command import run as rlguide
from tests.cli.test_printed_commands import parse
from tests.html.browser import chromium, visit
from tests.reports.folders import CONFIG, NAME, evaluate, make_run, metrics, result, suite, write

EVIL = [
    "<script>document.title='taken over'; fetch('{url}/script')</script>",
    "<img src='{url}/image' onerror=\"document.title='taken over'\">'\"",
    "</pre></details></main></body><iframe src='{url}/frame'></iframe><style>*{display:none}</style>",
    "\x1b[31mred\u202e reversed \ud800 half",
    "x" * 100_000,
    "مرحبا hello 你好 " * 50,
]
FINDING = Finding("own", "error", 3, "seen <b>", "means `x`", "fix it", "rlguide train --set 'a=<b>'", "arXiv 1")


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    root = tmp_path / "my 工作区"
    root.mkdir()
    return Workspace(root)


def page_of(ws: Workspace, language: str = "en") -> str:
    return report_page(ws, open_run(ws, NAME), language)


class _Read(HTMLParser):
    """The texts of a page, its tags, its addresses, and its charts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.charts: list[dict[str, Any]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not any(key.startswith("on") or key == "style" for key, _ in attrs)
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href", "srcset", "data", "action")]
        self.charts += [json.loads(value or "") for key, value in attrs if key == "data-chart"]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_figures_are_those_of_the_files(ws: Workspace) -> None:
    evaluate(make_run(ws), "a prompt")
    read = _Read(page_of(ws))
    loss = next(chart for chart in read.charts if chart["series"][0][0][1] == shown(metrics()[0]["loss"]))
    logged = [[row["step"], shown(row["loss"])] for row in metrics() if "loss" in row]
    held_out = [[row["step"], shown(row["eval_loss"])] for row in metrics() if "eval_loss" in row]
    assert loss == {"end": 20, "series": [logged, held_out]}
    for part in (
        "Reward accuracy 87.5 %",
        "8 held-out pairs",
        "Pairs: 8 held out, of polite_test, at step 20",
        "of the reference 0.6931",
        "Steps 20 / 20",
        "first 8 rows last 8 rows held out, first 8 rows held out, last 8 rows Loss 0.69 0.5 0.65 0.6",
        "English instructions 0.500 0.250 -0.250 -0.400 to -0.100",
        "gsm8k exact_match 0.100 0.200 +0.100 –",
        "10 1.250 25.0 %",
        "Not measured: length. the held-out prompts cannot be read",
        "Not measured: ifeval. it failed",
        "before a prompt after a prompt changed",
        "margin -1.5000",
        "learning_rate 5.0e-5 default 5.0e-6 Peak learning rate; preference tuning with LoRA needs",
        "set by hand something_own x",
        "hub_id someone/polite commit 123abc filters dedupe , min_margin 0.5 invalid rows 2 sha256 c0ffee",
        "polite_test held out changed since",
        "llamafactory 0.9.5",
    ):
        assert part in read.text, part
    assert 'td class="down">-0.250' in page_of(ws)


def test_a_page_of_hostile_files_is_text(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    page = hostile_page(ws, monkeypatch)
    read = _Read(page)
    assert not read.tags & {"iframe", "img", "b", "link", "object", "form"}
    assert page.count("<script") == 1 and page.count("<style") == 1
    assert all(address.startswith("#") for address in read.addresses)
    assert "\x1b" not in page and "\u202e" not in page and "\ud800" not in page
    assert len(page) < 500_000  # six texts of 100,000 characters, each in many places


def hostile_page(ws: Workspace, monkeypatch: pytest.MonkeyPatch, language: str = "en") -> str:
    """A page on which all that a file can say is hostile."""
    monkeypatch.setattr("rlguide.reports.page.findings_of", lambda run: [FINDING])
    texts = dict(enumerate(EVIL))
    folder = make_run(
        ws,
        datasets=dict.fromkeys(EVIL, 1),
        held_out=dict.fromkeys(EVIL, 2),
        loss=EVIL[0],
        template=EVIL[1],
        base=EVIL[4],
        engine={text: text for text in EVIL},
        parts={text: text for text in EVIL},
        config={text: text for text in EVIL} | {"pref_beta": EVIL[0], "dataset": EVIL[4]},
        start_check={"ok": False, "message": EVIL[0]},
        failure={"what": EVIL[2]},
        status="failed",
        attempts=[{"change": text} for text in EVIL],
        surroundings={"command": EVIL, "git": {"commit": EVIL[0]}, **{text: text for text in EVIL}},
        method=EVIL[0],
    )
    evaluate(folder, *EVIL)
    found = suite()
    found["table"][0].update(name=texts[0], unit=texts[1])
    found.update(summary="; ".join(EVIL), skipped={text: text for text in EVIL})
    write(folder / "eval/suite.json", found)
    return page_of(ws, language)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": "failed", "failure": {"what": "the GPU ran out of memory"}}, "the GPU ran out of memory"),
        ({"status": "failed"}, "This run did not finish"),
        ({"status": "interrupted"}, "resume it: rlguide train --resume saves/tiny/lora/dpo"),
        ({"status": "running"}, "interrupted"),  # nothing runs there
        ({"status": "from the future"}, "from the future"),
        ({"datasets": None, "held_out": None}, "No dataset is recorded."),
        ({"method": "from_the_future"}, "from_the_future"),
        ({"summary": None, "total_steps": None, "engine": None}, "Steps 20"),
    ],
)
def test_the_state_of_a_run_is_said(ws: Workspace, changes: dict[str, Any], said: str) -> None:
    make_run(ws, **changes)
    assert said in _Read(page_of(ws)).text


def test_a_run_that_trains_is_said_to(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(ws, status="running")
    monkeypatch.setattr("rlguide.policy.run_state.is_training", lambda folder, pid: True)
    text = _Read(page_of(ws)).text
    assert "still training" in text and f"rlguide report {NAME}" in text


@pytest.mark.parametrize("method", ["sft", "rm", "ppo", "orpo"])
def test_a_method_without_rewards_of_a_reference(ws: Workspace, method: str) -> None:
    folder = make_run(ws, method=method, loss=None, stack=["saves/tiny/lora/sft", NAME])
    write(folder / "metrics.jsonl", metrics(rewards=False))
    text = _Read(page_of(ws)).text
    assert "This method logs no rewards of chosen and rejected responses" in text
    assert "Loss" in text and "Margin" not in text.split("Diagnosis")[2].split("Evaluation")[0]
    write(folder / "metrics.jsonl", metrics())
    assert "logs no rewards" not in page_of(ws)


def test_what_is_missing_is_said(ws: Workspace) -> None:
    folder = make_run(ws)
    assert "This run was not evaluated." in page_of(ws)
    for path in folder.iterdir():
        if path.name != "run.json":
            path.unlink()
    (ws.data / "polite.manifest.json").unlink()
    text = _Read(page_of(ws)).text
    assert f"There are no figures: {NAME}/metrics.jsonl is missing, empty or damaged." in text
    assert "There are no figures to be diagnosed." in text
    assert "polite trained on rows 40" in text  # as recorded
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": NaN}\n{"step": 1' + "0" * 400 + ', "loss": 1}\n{')
    assert "There are no figures:" in _Read(page_of(ws)).text


@pytest.mark.parametrize(("kl", "level"), [(LIMIT / 2, "good"), (LIMIT * 11, "unclear")])
def test_a_policy_that_is_far_from_its_parent_is_not_called_good(ws: Workspace, kl: float, level: str) -> None:
    folder, away = make_run(ws), Line("KL per response", 0.0, kl, Estimate(kl, kl - 1, kl + 1, 24), "", "normal")
    write(folder / "eval/result.json", {**result(), "ties": 0, "accuracy": proportion(90, 100).as_dict()})
    write(folder / "eval/suite.json", {**suite(), "table": [away.as_dict()]})
    write(folder / "metrics.jsonl", metrics(rewards=False)[1:])
    text = _Read(page_of(ws)).text
    assert f"Verdict: {level} the policy has learnt the preference" in text
    assert (FAR.removeprefix("the ") in text) == (level != "good")


def test_before_an_evaluation_the_figures_are_those_of_the_training(ws: Workspace) -> None:
    folder = make_run(ws)
    text = _Read(page_of(ws)).text
    assert "Margin +1.000 during training, at step 20 8 held-out rows" in text
    assert "Held-out loss 0.6000 during training, at step 20" in text
    (folder / "metrics.jsonl").unlink()
    text = _Read(page_of(ws)).text
    assert "Reward accuracy 75.0 % during training, at step 20 8 held-out rows" in text  # what the record has


@pytest.mark.parametrize(
    ("rule", "said"), [({}, "loss 0.6"), ({"metric_for_best_model": "rewards/margins"}, "margin 1")]
)
def test_the_best_step_is_told_in_the_words_of_its_rule(ws: Workspace, rule: dict[str, str], said: str) -> None:
    make_run(ws, config={**CONFIG, **rule})
    assert f"Best step 20 held-out {said} during training" in _Read(page_of(ws)).text


def test_a_reward_model_has_no_parent(ws: Workspace) -> None:
    folder = make_run(ws, method="rm", loss=None)
    evaluate(folder)
    share = suite()["accuracy"]
    found = {**suite(), "reward_model": "x", "by_length": [{"name": "longer", "accuracy": share, "claimed": 0.75}]}
    write(folder / "eval/result.json", found)
    (folder / "eval/suite.json").unlink()
    text = _Read(page_of(ws)).text
    assert "longer 8 87.5 % 52.9 to 97.8 % 75.0 %" in text
    assert "accuracy 0.8750 0.5291 to 0.9776" in text and "parent tuned" not in text


def test_lines_to_paste_exist(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlguide.reports.page.findings_of", lambda run: [FINDING])
    make_run(ws)
    commands = [unescape(text) for text in re.findall('<pre class="command">(.*?)</pre>', page_of(ws), re.DOTALL)]
    assert commands == ["rlguide train --set 'a=<b>'", f"rlguide eval {NAME}"]
    app = typer.main.get_command(build_app())
    for command in commands:
        parse(app, command)


def test_the_command_prints_the_path(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(ws)
    assert rlguide("report", "-w", str(ws.root)) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    other = ws.root / "new folder/页.html"
    assert rlguide("report", NAME, "-w", str(ws.root), "--output", str(other), "--lang", "zh", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {"run": NAME, "status": "finished", "report": str(other)}
    assert '<html lang="zh-Hans">' in other.read_text(encoding="utf-8")
    assert rlguide("report", NAME, "-w", str(ws.root), "--output", str(other)) == 0  # its own is replaced
    assert '<html lang="en">' in other.read_text(encoding="utf-8")


def test_what_is_no_report_is_not_replaced(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(ws)
    before = (folder / "run.json").read_bytes()
    with pytest.raises(UsageError):
        write_report(ws, open_run(ws, NAME), folder / "run.json")
    assert (folder / "run.json").read_bytes() == before
    assert rlguide("report", "-w", str(ws.root), "--output", str(folder)) == 2
    assert rlguide("report", "saves/nothing", "-w", str(ws.root)) == 2
    (folder / "run.json").write_text("{")
    assert rlguide("report", NAME, "-w", str(ws.root)) == 1
    said = capsys.readouterr()
    assert said.err.count("error:") == said.err.count("fix:") == 3 and said.out == ""


def test_a_page_in_chinese_marks_what_it_has_in_english_only(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlguide.reports.page.findings_of", lambda run: [FINDING])
    verdict = Verdict("good", "something that nobody has translated")
    monkeypatch.setattr("rlguide.reports.page.verdict_of", lambda run: verdict)
    evaluate(make_run(ws), "a prompt")
    marked = re.findall('<span class="untranslated" lang="en">(.*?)</span>', page_of(ws, "zh"))
    english = ["own", "seen &lt;b&gt;", "means <code>x</code>", "fix it", verdict.text]
    own = ["gsm8k exact_match", "it failed", "lm-eval 0.4.13", "a note", "n1"]
    assert set(marked) == {*english, *own, "something new that nobody has translated"}
    assert "untranslated" not in page_of(ws).split("</style>")[1]


@pytest.mark.browser
@pytest.mark.parametrize(
    ("width", "is_dark", "language"), [(360, True, "en"), (360, False, "zh"), (1200, True, "zh"), (1200, False, "en")]
)
def test_a_browser_fetches_nothing_and_nothing_is_cut(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, is_dark: bool, language: str
) -> None:
    page = hostile_page(ws, monkeypatch, language)
    seen = visit(tmp_path, page, width, is_dark)
    assert seen.fetched == [] and seen.console == []
    assert seen.found["title"] == NAME
    assert seen.found["width"] <= width and seen.found["wide"] == []
    assert min(seen.found["fonts"]) >= 11  # of the axes, which do not shrink with their chart
    paper, ink = (sum(map(int, re.findall(r"\d+", seen.found[part])[:3])) for part in ("paper", "ink"))
    assert (paper < ink) is is_dark
    assert "&lt;script&gt;document.title" in seen.dom


@pytest.mark.browser
def test_the_values_under_the_pointer_are_those_of_the_step(ws: Workspace, tmp_path: Path) -> None:
    make_run(ws)
    seen = visit(tmp_path, page_of(ws), 1200)
    rows = {row["step"]: row for row in metrics() if "loss" in row}
    assert seen.found["last"][:2] == [shown(rows[20]["loss"]), shown(metrics()[-1]["eval_loss"])]
    assert seen.found["at"] == "step 10"
    assert seen.found["pointed"][:2] == [shown(rows[10]["loss"]), "0.65"]
    assert seen.found["left"] == seen.found["last"]
    assert seen.console == []


@pytest.mark.browser
def test_it_prints(ws: Workspace, tmp_path: Path) -> None:
    evaluate(make_run(ws), *(f"prompt {number}" for number in range(6)))
    path = write_report(ws, open_run(ws, NAME))
    printed = tmp_path / "report.pdf"
    _, console = chromium(tmp_path, f"--print-to-pdf={printed}", "--no-pdf-header-footer", path.as_uri())
    assert console == [] and printed.read_bytes().startswith(b"%PDF-")
    assert printed.stat().st_size > 20_000


def test_a_run_object_is_not_changed(ws: Workspace) -> None:
    folder = make_run(ws)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found: Run = open_run(ws, NAME)
    report_page(ws, found)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_figures_at_the_ends_are_of_one_row_each() -> None:
    """The first row has no accuracy where all pairs tie: then there is none, and not that of a later row."""
    rows = [
        {"step": 1, "loss": 0.69, "rewards/accuracies": 0.0, "rewards/margins": 0.0},
        {"step": 2, "loss": 0.6, "rewards/accuracies": 0.75, "rewards/margins": 0.1},
        {"step": 4, "loss": 0.5, "rewards/accuracies": 0.5, "rewards/margins": 0.2},
        {"step": 4, "eval_loss": 0.55},
    ]
    ends = {end.name: (end.first, end.last, end.held_out_first, end.held_out_last) for end in ends_of(rows)}
    assert ends["Loss"] == ("0.69", "0.5", "", "0.55")
    assert ends["Reward accuracy"] == ("", "0.5", "", "")
