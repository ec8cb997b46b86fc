"""`rlguide inspect`."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rlguide.evaluation.instructions.prompts import load_prompts
from tests.cli.command import run


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with registered pairs and registered labels."""
    root = tmp_path / "工作 space"
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no cache"))
    pairs = [
        {"instruction": f"What is number {n}? 你好 [b]", "chosen": f"Yes, {n} it is.", "rejected": f"No {n}!"}
        for n in range(60)
    ]
    labels = [{"prompt": f"Is {n} even?", "completion": f"It is {n}.", "label": n % 2 == 0} for n in range(40)]
    for name, rows in (("polite", pairs), ("thumbs", labels)):
        (root / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
        assert run("register", f"{name}.json", "--test-size", "0.1") == 0
    return root


def test_prints_figures_rows_and_verdicts(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run("inspect", "polite", "--pairs", "2") == 0
    out = capsys.readouterr().out
    assert out.startswith("polite (all 54 rows unless noted)\n")
    assert out.count("54 rows") == 1
    assert "held out and in training  0" in out
    assert "not checked" in out
    assert out.count("--- chosen, ") == out.count("--- rejected, ") == 2
    assert "你好 [b]" in out


def test_json_is_one_document_and_the_seed_decides_the_rows(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = []
    for seed in ("1", "1", "2"):
        capsys.readouterr()
        assert run("inspect", "polite", "--json", "--seed", seed) == 0
        documents.append(json.loads(capsys.readouterr().out))
    assert documents[0] == documents[1]
    assert documents[0]["examples"] != documents[2]["examples"]
    assert (documents[0]["rows"], documents[0]["heldout_rows"], len(documents[0]["examples"])) == (54, 6, 3)
    assert documents[0]["overlap"]["exact"] == 0
    bias = documents[0]["length_bias"]
    assert bias["longer"]["n"] + bias["equal"] == 54
    assert documents[0]["ifeval"] is None and documents[0]["tokens"] is None


def test_labelled_responses(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run("inspect", "thumbs", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["kind"], document["rows"] + document["heldout_rows"]) == ("labels", 40)
    assert 0 < document["desirable"] < document["rows"]
    assert run("inspect", "thumbs") == 0
    assert "desirable ---" in capsys.readouterr().out


HOSTILE = "\x1b[31mred\x1b]0;title\x07 \x9b5m \r over \x08 \u202e "


@pytest.fixture
def foreign(workspace: Path) -> Path:
    """An entry that rlguide did not write, with texts that it would refuse."""
    rows = [
        {"instruction": f"Q{n} {HOSTILE}", "uno": f"Yes {n} {HOSTILE}, and a word more", "dos": f"No {HOSTILE}"}
        for n in range(60)
    ]
    (workspace / "data/theirs.json").write_text(json.dumps(rows))
    registry = workspace / "data/dataset_info.json"
    columns = {"prompt": "instruction", "chosen": "uno", "rejected": "dos"}
    entries = json.loads(registry.read_text(encoding="utf-8"))
    for name in ("theirs", f"theirs {HOSTILE}"):
        entries[name] = {"file_name": "theirs.json", "ranking": True, "columns": columns}
    registry.write_text(json.dumps(entries))
    return workspace


@pytest.mark.parametrize("name", ["theirs", f"theirs {HOSTILE}"])
def test_texts_do_not_steer_the_terminal(foreign: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    capsys.readouterr()
    assert run("inspect", name) == 0
    out = capsys.readouterr().out
    assert "[31mred" in out and "and a word more" in out
    assert not set(out) & set("\x1b\x07\x9b\r\x08\u202e\ud800")
    assert run("inspect", name, "--json") == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and out.encode()
    assert json.loads(out)["examples"][0]["chosen"].startswith("Yes ")


def test_a_file_of_others_is_to_be_taken_in(foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run("inspect", "theirs") == 0
    command = "rlguide register data/theirs.json --name theirs_checked --keep-good"
    assert f"and import the file: {command}" in capsys.readouterr().out


BAD = {
    3: ({"chosen": ""}, "chosen is empty"),
    8: ({"rejected": "ends <|im_end|>"}, "a text holds the chat-template token <|im_end|>"),
    17: ({"chosen": "Donâ€™t."}, "a text is UTF-8 that was read as another encoding (encoding damage)"),
    20: ({"chosen": None}, "chosen is missing"),
}


@pytest.fixture
def faulty(workspace: Path) -> Path:
    """Rows that rlguide would refuse, in a file that it did not write; two of them have both answers."""
    rows = [{"prompt": f"What is number {n}?", "chosen": f"Yes {n}.", "rejected": f"No, {n}!"} for n in range(1, 41)]
    for line, (change, _) in BAD.items():
        rows[line - 1] |= change  # type: ignore[arg-type]
    (workspace / "data/theirs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    registry = workspace / "data/dataset_info.json"
    entries = json.loads(registry.read_text(encoding="utf-8"))
    columns = {key: key for key in ("prompt", "chosen", "rejected")}
    for name in ("theirs", "theirs_test"):
        entries[name] = {"file_name": "theirs.jsonl", "ranking": True, "columns": columns}
    registry.write_text(json.dumps(entries))
    return workspace


def test_files_of_others_are_checked_like_ones_own(faulty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run("inspect", "theirs", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    found = {bad["reason"]: (bad["rows"], bad["places"]) for bad in document["bad"]}
    assert {reason: found.get(reason) for _, reason in BAD.values()} == {
        reason: (1, [f"line {line}"]) for line, (_, reason) in BAD.items()
    }
    (broken,) = found.keys() - {reason for _, reason in BAD.values()}
    assert found[broken] == (1, ["line 41"])
    assert (document["rows"], document["rows_read"]) == (38, 41), "what the engine trains on is in the figures"
    assert document["apply"].endswith("rlguide register data/theirs.jsonl --name theirs_checked --keep-good")
    assert run("inspect", "theirs") == 0
    out = capsys.readouterr().out
    assert "Bad rows, which rlguide register would refuse (of the 41 rows of the file)\nrows  reason" in out
    assert "note: 3 of the 41 rows are bad and not in these figures" in out
    assert "38 of 38 held-out rows have the prompt of a training row" in out
    assert "note: 5 of the held-out rows are bad, too: rlguide inspect theirs_test" in out
    assert "5 of 41 rows (12 %) are bad" in out


def test_what_is_advised_about_bad_rows_takes_them_out(faulty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run("inspect", "theirs", "--json") == 0
    line = json.loads(capsys.readouterr().out)["apply"]
    assert run(*shlex.split(line.partition(": rlguide ")[2])) == 0
    capsys.readouterr()
    assert run("inspect", "theirs_checked", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["bad"] == [] and document["overlap"]["exact"] == 0
    assert document["rows"] + document["heldout_rows"] == 36 and document["verdicts"] == []


def test_labels_of_others_are_checked_too(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"q": f"Is {n} even?", "a": "" if n == 4 else f"It is {n}.", "ok": n % 2 == 0} for n in range(20)]
    (workspace / "data/their labels.json").write_text(json.dumps(rows))
    registry = workspace / "data/dataset_info.json"
    entries = json.loads(registry.read_text(encoding="utf-8"))
    entries["votes"] = {
        "file_name": "their labels.json",
        "columns": {"prompt": "q", "response": "a", "kto_tag": "ok"},
    }
    registry.write_text(json.dumps(entries))
    capsys.readouterr()
    assert run("inspect", "votes", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["rows"] == 19
    assert document["bad"] == [{"reason": "the response is empty", "rows": 1, "places": ["row 5"]}]


def test_a_file_of_ours_that_was_edited_is_checked(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = workspace / "data/polite.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[6]["chosen"] = "cut <|im_end|>"
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    capsys.readouterr()
    assert run("inspect", "polite", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [(bad["rows"], bad["places"]) for bad in document["bad"]] == [(1, ["row 7"])]
    assert run("inspect", "polite_test", "--json") == 0
    assert json.loads(capsys.readouterr().out)["bad"] == []


SCORED = [
    {
        "instruction": f"Tell me about the {['river', 'tree', 'bird', 'house'][n % 4]} of number {n}, in a few words?",
        "chosen": "It is there" + " and there" * (n % 10),
        "rejected": "No.",
        "chosen_score": 3 + n % 4,
        "rejected_score": 4,
    }
    for n in range(400)
]


@pytest.fixture
def scored(workspace: Path) -> Path:
    """`scored pairs.json`: scores, 20 duplicates, chosen always longer; one row is refused, some are too long."""
    rows = [*SCORED, *SCORED[:20], {**SCORED[0], "rejected": ""}]
    (workspace / "scored 分.json").write_text(json.dumps(rows))
    assert run("register", "scored 分.json", "--name", "scored", "--max-length", "150", "--test-size", "0.1") == 0
    return workspace


def test_scores_refused_rows_and_what_was_left_out(scored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run("inspect", "scored", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    margins = document["margins"]
    assert margins["spread"]["rows"] == document["rows"]
    assert (margins["spread"]["min"], margins["spread"]["max"], margins["smallest_positive"]) == (-1, 2, 1)
    assert document["refused"] == {"rejected is empty": 1}
    assert sum(document["left_out"].values()) == 421 - 1 - document["rows"] - document["heldout_rows"] > 0
    assert document["examples"][0]["scores"][1] == 4
    assert run("inspect", "scored") == 0
    out = capsys.readouterr().out
    assert "Refused at registration (each row in data/scored.report.json)\nrows  reason\n1" in out
    assert "Dropped by the filters at registration" in out and "(--max-length)" in out
    assert "score 4 ---" in out


def test_the_command_that_is_advised_fixes_what_was_found(scored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run("inspect", "scored", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    words = shlex.split(document["apply"].removeprefix("to apply: rlguide "))
    assert words == [
        *("register", "scored 分.json", "--name", "scored", "--force", "--test-size", "0.1", "--dedupe"),
        *("--min-margin", "1", "--max-length", "150"),
    ]  # not --balance-length: no pair would be left, for chosen is always the longer one
    assert run(*words) == 0
    capsys.readouterr()
    assert run("inspect", "scored", "--json") == 0
    fixed = json.loads(capsys.readouterr().out)
    assert (fixed["duplicates"]["exact"], fixed["margins"]["ties"], fixed["margins"]["negative"]) == (0, 0, 0)
    assert len(document["verdicts"]) > len(fixed["verdicts"]) == 1


def test_a_held_out_set_is_not_said_to_be_for_training(scored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run("inspect", "scored_test") == 0
    out = capsys.readouterr().out
    assert "held out from scored\n" in out and "for training" not in out
    assert "Refused" not in out  # that is about the file that both come from
    assert "to apply: rlguide register 'scored 分.json' --name scored --force" in out


@pytest.mark.parametrize("use", ["sft", "ppo"])
def test_a_view_names_what_it_shows(workspace: Path, capsys: pytest.CaptureFixture[str], use: str) -> None:
    assert run("view", "polite", "--use", use) == 0
    for shown in ("polite", "polite_test"):
        view = shown.replace("polite", f"polite_{use}")
        capsys.readouterr()
        assert run("inspect", view) == 2
        out, err = capsys.readouterr()
        assert (out, err.splitlines()) == (
            "",
            [
                f"error: dataset {view} is a view of {shown}: the same rows as another stage sees them",
                f"  fix: inspect that: rlguide inspect {shown}",
            ],
        )


def test_a_view_of_a_file_of_others_names_it(foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("view", "theirs", "--use", "sft") == 0
    capsys.readouterr()
    assert run("inspect", "theirs_sft") == 2
    assert "is a view of theirs:" in capsys.readouterr().err


def test_what_is_neither_is_said_not_to_be_preference_data(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry = workspace / "data/dataset_info.json"
    entries = json.loads(registry.read_text(encoding="utf-8"))
    registry.write_text(json.dumps({**entries, "chat_sft": {"file_name": "chat.json"}}))
    capsys.readouterr()
    assert run("inspect", "chat_sft") == 1
    assert "is not a preference dataset" in capsys.readouterr().err


def test_rows_made_for_kto_are_those_of_the_pairs(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("view", "polite", "--use", "kto") == 0
    capsys.readouterr()
    assert run("inspect", "polite_kto", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["kind"], document["rows"], document["desirable"]) == ("labels", 108, 54)
    assert document["heldout_rows"] == 12
    assert {len(row["messages"]) for row in document["examples"]} == {1}


def test_a_view_that_is_out_of_date_is_told(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    assert run("view", "polite", "--use", "kto") == 0
    assert run("list") == 0
    assert "earlier" not in capsys.readouterr().err
    path = workspace / "data/polite.parquet"
    pq.write_table(pq.read_table(path).slice(0, 30), path)
    for name in ("polite_kto", "polite_kto_test"):
        assert run("inspect", name) == 0
        out = capsys.readouterr().out
        assert "- made from an earlier polite, which has changed since or is gone" in out
        assert "to apply: rlguide view polite --use kto" in out
    assert run("list") == 0
    err = capsys.readouterr().err
    assert "polite_kto was made of an earlier polite; rlguide view polite --use kto makes it again" in err
    monkeypatch.chdir(workspace.parent)
    assert run("inspect", "polite_kto", "-w", workspace.name, "--json") == 0
    line = json.loads(capsys.readouterr().out)["apply"]
    assert run(*shlex.split(line.removeprefix("to apply: rlguide "))) == 0
    capsys.readouterr()
    assert run("inspect", "polite_kto", "-w", workspace.name) == 0
    assert "earlier" not in capsys.readouterr().out


def test_a_view_of_pairs_that_share_answers_has_no_problems(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"prompt": f"What is number {n}?", "responses": [f"It is {w} {n}" for w in "abcd"], "scores": [1, 2, 3, 4]}
        for n in range(60)
    ]
    (workspace / "lists.json").write_text(json.dumps(rows), encoding="utf-8")
    assert run("register", "lists.json", "--pairing", "all", "--test-size", "0.1") == 0
    assert run("view", "lists", "--use", "kto") == 0
    capsys.readouterr()
    assert run("inspect", "lists_kto") == 0
    out = capsys.readouterr().out
    assert re.search(r"^exact duplicates +0 ", out, re.MULTILINE) and "--dedupe" not in out
    assert "note: made from lists: see `rlguide inspect lists` for what can be filtered there" in out
    assert re.search(
        r"^Dropped when it was made from lists\nrows +reason\n360 +a response chosen in", out, re.MULTILINE
    )
    assert run("inspect", "lists_kto", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["rows"], document["desirable"], document["heldout_rows"]) == (108, 54, 12)
    assert document["apply"] == "" == "".join(document["verdicts"])


def test_strays_are_gone_when_the_advice_is_taken_from_another_folder(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = {"en": "Please explain to me what the number {} means in this text", "zh": "请解释一下第 {} 个问题的含义"}
    rows = [
        {"prompt": text[asked].format(n), "chosen": text[told].format(n + 1), "rejected": text[told].format(n + 9)}
        for n in range(600)
        for asked, told in [("zh" if n % 50 == 3 else "en", "zh" if n % 50 in (3, 9) else "en")]
    ]
    file = tmp_path / "file of rows.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    options = ("-w", workspace.name, "--test-size", "0", "--seed", "0", "--min-margin", "0")
    scored = [{**row, "chosen_score": 1, "rejected_score": 0} for row in rows]
    file.write_text(json.dumps(scored), encoding="utf-8")
    assert run("register", file.name, "--name", "mix", *options) == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    capsys.readouterr()
    assert run("inspect", "mix", "-w", str(workspace), "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert any("--lang en" in verdict for verdict in document["verdicts"])
    assert run(*shlex.split(document["apply"].removeprefix("to apply: rlguide "))) == 0
    assert not list(elsewhere.iterdir()), "nothing is written where the command was given"
    capsys.readouterr()
    assert run("inspect", "mix", "-w", str(workspace), "--json") == 0
    fixed = json.loads(capsys.readouterr().out)
    assert fixed["rows"] == document["languages"]["en"] and fixed["heldout_rows"] == 0
    assert set(fixed["languages"]) == {"en"} and not any("--lang" in verdict for verdict in fixed["verdicts"])
    manifest = json.loads((workspace / "data/mix.manifest.json").read_text(encoding="utf-8"))
    assert [manifest["options"][key] for key in ("test_size", "seed", "min_margin")] == [0, 0, 0]


def test_labelled_conversations(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {
            "messages": [
                {"role": "system", "content": "简短"},
                {"role": "user", "content": f"First {n}?"},
                {"role": "assistant", "content": "Yes."},
                {"role": "user", "content": f"And then {n}?"},
                {"role": "assistant", "content": f"Then {n}."},
            ],
            "label": n % 2 == 0,
        }
        for n in range(30)
    ]
    (workspace / "turns.json").write_text(json.dumps(rows), encoding="utf-8")
    assert run("register", "turns.json", "--test-size", "0") == 0
    capsys.readouterr()
    assert run("inspect", "turns", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["rows"], document["turns"], document["system"], document["desirable"]) == (30, {"2": 30}, 30, 15)
    row = document["examples"][0]
    number = row["response"].removeprefix("Then ").removesuffix(".")
    assert row["messages"] == [f"First {number}?", "Yes.", f"And then {number}?"]
    assert (row["system"], row["desirable"]) == ("简短", int(number) % 2 == 0)


def test_writes_page_and_plots(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", "polite", "--html", "--plots", "pictures 图") == 0
    page = (workspace / "data/polite.inspect.html").read_text(encoding="utf-8")
    assert page.count("<details") == 20 and page.count("<figure") == 2
    pictures = sorted(path.name for path in (workspace / "pictures 图").iterdir())
    assert pictures == ["polite.length_difference.png", "polite.lengths.png"]
    assert "wrote data/polite.inspect.html" in capsys.readouterr().err
    assert run("inspect", "polite", "--html-file", "out/page.html") == 0
    assert (workspace / "out/page.html").exists()


def test_without_matplotlib_the_page_is_whole_and_for_plots_it_is_said_how_to_get_it(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    capsys.readouterr()
    assert run("inspect", "polite", "--plots", "pictures") == 0
    out, err = capsys.readouterr()
    assert out.count("pip install matplotlib") == 1 and "wrote " not in err
    assert run("inspect", "polite", "--html") == 0
    out, err = capsys.readouterr()
    assert "matplotlib" not in out and err.count("wrote ") == 1
    page = (workspace / "data/polite.inspect.html").read_text(encoding="utf-8")
    assert page.count("<details") == 20 and page.count("<figure") == 2


def test_ifeval_from_a_file(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "ifeval.jsonl").write_text(json.dumps({"prompt": "What is number 7? 你好 [b]"}), encoding="utf-8")
    document = {}
    capsys.readouterr()
    assert run("inspect", "polite", "--json", "--ifeval", "ifeval.jsonl") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ifeval"]["hits"] <= 1 and document["ifeval"]["rows"] == 54


def test_bundled_prompts_among_the_training_prompts_are_told(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = [prompt.prompt for prompt in load_prompts()][::30]  # English and Chinese
    rows = [{"instruction": prompt, "chosen": f"Yes, {prompt}", "rejected": "No."} for prompt in prompts]
    (workspace / "leaked.json").write_text(json.dumps(rows), encoding="utf-8")
    assert run("register", "leaked.json", "--test-size", "0") == 0
    capsys.readouterr()
    told = {}
    for name in ("leaked", "polite"):
        assert run("inspect", name, "--json") == 0
        document = json.loads(capsys.readouterr().out)
        assert document["instructions"]["rows"] == document["rows"]
        told[name] = document["instructions"]["hits"], [text for text in document["verdicts"] if "bundled" in text]
    hits, verdicts = told["leaked"]
    assert hits == len(rows) and len(verdicts) == 1 and f"{hits} training prompts overlap with {hits}" in verdicts[0]
    assert told["polite"] == (0, [])


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (("nothing",), 2, "no dataset nothing"),
        (("polit",), 2, "did you mean polite?"),
        (("polite", "--ifeval", "missing.jsonl"), 1, "cannot read missing.jsonl"),
        (("polite", "--pairs", "-1"), 2, "-1"),
        (("polite", "--cutoff-len", "512"), 2, "--cutoff-len and --template are about tokens"),
    ],
)
def test_mistakes_are_named(
    workspace: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, words: str
) -> None:
    assert run("inspect", *arguments) == code
    assert words in capsys.readouterr().err


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from rlguide.cli import main;"
        "\ntry: main(['inspect', '--help'])\nexcept SystemExit: pass"
        "\nassert not {'numpy', 'matplotlib', 'py3langid', 'yaml', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
