from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

COMMAND = str(Path(sys.executable).parent / "rlguide")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, "list", *arguments], cwd=folder, capture_output=True, text=True, timeout=60)


def test_the_catalog_in_an_empty_folder(tmp_path: Path) -> None:
    listed = run(tmp_path)
    assert listed.returncode == 0 and listed.stderr == ""
    header, *lines = listed.stdout.splitlines()
    assert header.split()[:3] == ["NAME", "HUB", "ID"]
    assert [line.split()[0] for line in lines] == ["ultrafeedback", "orca_dpo", "dpo_en_zh", "coig_p"]
    assert all(line.endswith("no") for line in lines)
    assert "1,006,000" in lines[3]
    notes = {line["name"]: line["note"] for line in json.loads(run(tmp_path, "--json").stdout)}
    assert "10k" in notes["coig_p"] and "100k" in notes["orca_dpo"]
    assert list(tmp_path.iterdir()) == []


def test_entries_of_others(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    entries = {
        "ultrafeedback": {"hf_hub_url": "llamafactory/ultrafeedback_binarized", "ranking": True},
        "identity": {"file_name": "identity.json"},
        "mine": {"file_name": "mine.json", "ranking": True},
        "mine_test": {"file_name": "mine.json", "ranking": True},
    }
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(entries))
    (tmp_path / "data" / "mine.json").write_text("[]")
    lines = json.loads(run(tmp_path, "--json").stdout)
    # The engine's own entry of the same name is not a download of the guide's.
    assert [line["name"] for line in lines] == [
        "ultrafeedback", "orca_dpo", "dpo_en_zh", "coig_p", "ultrafeedback", "mine",
    ]  # fmt: skip
    assert [line["downloaded"] for line in lines] == [False] * 5 + [True]
    assert lines[4]["hub_id"] == "llamafactory/ultrafeedback_binarized"


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    # main() ends through click's SystemExit: look at the modules at exit.
    code = "import atexit, sys\n" + (
        "def look():\n"
        "    heavy = {'pyarrow', 'huggingface_hub', 'numpy', 'pandas', 'matplotlib', 'requests'} & set(sys.modules)\n"
        "    print('heavy', sorted(heavy), file=sys.stderr)\n"
        "atexit.register(look)\n"
        "from rlguide.cli import main\n"
        "main(['list'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "heavy []"
