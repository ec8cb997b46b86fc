"""`rlguide show`, `rename` and `remove`."""

from __future__ import annotations

import fcntl
import json
import re
from pathlib import Path

import pytest

from rlguide.workspace import Workspace
from tests.cli.command import run
from tests.cli.terminal import on_a_terminal
from tests.cli.test_advice import commands, make_run

EVIL = "red \x1b[31m bell \x07 \u202e end\u2028."


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Pairs with scores and several turns, labels, and a folder as the current one."""
    root = tmp_path / "工作 space"
    root.mkdir()
    monkeypatch.chdir(root)
    pair = {
        "system": "Be kind.",
        "history": [["你好", "您好！"]],
        "instruction": "Tell a story.\n\n\tOnce",
        "chosen": "很久以前" * 2000 + " end.",
        "rejected": "[bold]No[/bold]",
        "chosen_score": 4.25,
        "rejected_score": 1,
    }
    pairs = [pair, *({**pair, "history": [], "instruction": f"q {n}", "chosen": f"yes {n}"} for n in range(39))]
    labels = [{"prompt": f"Is {n} even?", "completion": f"It is {n}.", "label": n % 2 == 0} for n in range(40)]
    for name, rows in (("polite", pairs), ("thumbs", labels)):
        (root / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
        assert run("register", f"{name}.json", "--test-size", "0") == 0
    (root / "data/theirs.json").write_text(json.dumps([{"q": EVIL, "c": "yes", "r": "no"}]))
    info = json.loads((root / "data/dataset_info.json").read_text())
    columns = {"prompt": "q", "chosen": "c", "rejected": "r"}
    info["theirs"] = {"file_name": "theirs.json", "ranking": True, "columns": columns}
    (root / "data/dataset_info.json").write_text(json.dumps(info))
    return Workspace(root)


def test_a_row_is_shown_whole_as_a_conversation(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run("show", "polite") == 0
    blocks = capsys.readouterr().out.split("\n\n")
    assert blocks[0] == "polite, row 1 of 40"
    text = "\n\n".join(blocks[1:])
    assert text == (
        "system\n  Be kind.\n\nuser\n  你好\n\nassistant\n  您好！\n\nuser\n  Tell a story.\n\n  \tOnce\n\n"
        f"chosen (score 4.25)\n  {'很久以前' * 2000} end.\n\nrejected (score 1)\n  [bold]No[/bold]\n"
    )
    assert run("show", "polite", "--short") == 0
    assert "more characters]" in capsys.readouterr().out
    assert run("show", "polite", "--row", "-1") == 0
    assert capsys.readouterr().out.startswith("polite, row 40 of 40\n")


def test_labels_and_json(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run("show", "thumbs", "--row", "3", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["dataset"], document["row"], document["rows"]) == ("thumbs", 3, 40)
    assert run("show", "thumbs", "--row", "3") == 0
    label = "desirable" if document["desirable"] else "undesirable"
    assert capsys.readouterr().out.endswith(f"\n\n{label} response\n  {document['response']}\n")
    assert run("show", "polite", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["messages"] == ["你好", "您好！", "Tell a story.\n\n\tOnce"] and document["scores"] == [4.25, 1.0]


def test_a_terminal_gets_every_character_in_its_width_and_none_that_acts(ws: Workspace) -> None:
    from rich.cells import cell_len

    code, text = on_a_terminal(ws.root, "show", "polite")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r", "")
    assert code == 0 and plain.count("很久以前") + plain.count("\n") > 1000
    assert re.sub(r"\s", "", plain).count("很久以前") == 2000, "nothing is cut"
    assert max(map(cell_len, plain.split("\n"))) <= 60
    code, text = on_a_terminal(ws.root, "show", "theirs")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert code == 0 and not set("\x1b\x07\u202e\u2028") & set(plain)
    assert r"\x1b[31m bell \x07 \u202e end\u2028." in " ".join(plain.split())


def test_in_a_pipe_nothing_acts_either(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run("show", "theirs") == 0
    out = capsys.readouterr().out
    assert r"red \x1b[31m bell \x07 \u202e end\u2028." in out and not set("\x1b\x07\u202e\u2028") & set(out)


@pytest.mark.parametrize("arguments", ["polite --row 41", "polite --row 0", "polite --heldout"])
def test_what_cannot_be_shown_is_said_with_a_fix_that_works(
    ws: Workspace, arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("show", *arguments.split()) == 2
    advised = commands(capsys.readouterr().err)
    assert advised and all(run(*command.split()[1:]) == 0 for command in advised)


def test_rename_tells_who_still_names_the_old_one(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(ws, config={"dataset": "theirs,polite", "eval_dataset": None})
    elsewhere = make_run(ws, "tiny/lora/dpo-2", config={"dataset": "polite", "eval_dataset": None}) / "run.json"
    elsewhere.write_text(elsewhere.read_text().replace('"dataset_dir": "data"', '"dataset_dir": "other/data"'))
    ws.configs.mkdir()
    (ws.configs / "mine.yaml").write_text("dataset: polite\nstage: dpo\n")
    (ws.configs / "other.yaml").write_text("dataset: polite_2\n")
    (ws.configs / "broken.yaml").write_text("dataset: [")
    capsys.readouterr()
    assert run("rename", "polite", "kind") == 0
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "polite is now kind",
        "not rewritten, and still naming polite: configs/mine.yaml, saves/tiny/lora/dpo",
    ]
    assert (ws.configs / "mine.yaml").read_text() == "dataset: polite\nstage: dpo\n"
    assert run("show", "kind") == 0


@pytest.mark.parametrize("arguments", ["rename polite kind", "remove polite --yes"])
def test_what_is_trained_on_stays(ws: Workspace, arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(ws, status="running", config={"dataset": "polite", "eval_dataset": None})
    with (folder / ".training.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run(*arguments.split()) == 2
        assert "saves/tiny/lora/dpo is training on it" in capsys.readouterr().err
        assert run("show", "polite") == 0
        assert run("rename", "thumbs", "up") == 0, "another dataset"
    (folder / ".training.lock").unlink()
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "status": "finished"}))
    assert run(*arguments.split()) == 0


def test_remove_asks_and_says_what_goes(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("view", "polite", "--use", "sft") == 0
    capsys.readouterr()
    assert run("remove", "polite") == 2, "nobody can be asked"
    said = capsys.readouterr().err
    assert "removes from data/dataset_info.json: polite, polite_sft" in said
    for end in ("parquet", "manifest.json", "report.json"):
        assert f"deletes data/polite.{end} (" in said
    assert commands(said) == ["rlguide remove polite --yes"]
    code, text = on_a_terminal(ws.root, "remove", "polite", answer=b"\n")
    assert code == 1 and "[y/N]" in text, "no is the default"
    assert run("show", "polite") == 0
    assert on_a_terminal(ws.root, "remove", "polite", answer=b"y\n")[0] == 0
    assert run("show", "polite") == 2
    assert (ws.root / "polite.json").exists()


def test_of_what_others_registered_only_the_entry_goes(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("remove", "theirs", "--yes") == 0
    assert "keeps data/theirs.json: rlguide did not write it" in capsys.readouterr().err
    assert (ws.data / "theirs.json").exists() and run("show", "theirs") == 2
