"""`rlguide inspect`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import run


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with registered pairs and registered labels."""
    root = tmp_path / "工作 space"
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no cache"))
    pairs = [
        {"instruction": f"What is number {n}? 你好 [b]", "chosen": f"Yes, {n} it is.", "rejected": f"No {n} [31m!"}
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
    assert "Length in characters (all 54 rows)" in out
    assert "held-out prompts in training  0" in out
    assert "not checked" in out
    assert out.count("--- chosen, ") == out.count("--- rejected, ") == 2
    assert "你好 [b]" in out
    assert "\x1b" not in out


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
    assert documents[0]["length_bias"]["longer"]["rows"] == 54
    assert documents[0]["ifeval"] is None and documents[0]["tokens"] is None


def test_labelled_answers(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run("inspect", "thumbs", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["kind"], document["rows"] + document["heldout_rows"]) == ("labels", 40)
    assert 0 < document["desirable"] < document["rows"]
    assert run("inspect", "thumbs") == 0
    assert "desirable ---" in capsys.readouterr().out


def test_writes_page_and_plots(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", "polite", "--html", "--plots", "pictures 图") == 0
    page = (workspace / "data/polite.inspect.html").read_text(encoding="utf-8")
    assert page.count("<details") == 20 and "data:image/png" in page
    pictures = sorted(path.name for path in (workspace / "pictures 图").iterdir())
    assert pictures == ["polite.length_difference.png", "polite.lengths.png"]
    assert "wrote data/polite.inspect.html" in capsys.readouterr().err
    assert run("inspect", "polite", "--html-file", "out/page.html") == 0
    assert (workspace / "out/page.html").exists()


def test_ifeval_from_a_file(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "ifeval.jsonl").write_text(json.dumps({"prompt": "What is number 7? 你好 [b]"}), encoding="utf-8")
    document = {}
    capsys.readouterr()
    assert run("inspect", "polite", "--json", "--ifeval", "ifeval.jsonl") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ifeval"]["hits"] <= 1 and document["ifeval"]["rows"] == 54


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
