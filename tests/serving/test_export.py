"""Merging a stack: what is refused, what is left behind, and when a merge is used again.

The engine here is a small script that writes what it is told to; the real one is in tests/e2e/test_export.py.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rlguide.engine.find import Engine
from rlguide.errors import CheckpointError, EngineError, RlguideError, UsageError
from rlguide.policy import merge as room
from rlguide.policy.checkpoint import read_checkpoint
from rlguide.policy.merge import default_folder, merge, merged_base
from rlguide.policy.merge_fingerprint import fingerprint, is_merge_of
from rlguide.policy.policy import Policy
from rlguide.runs.choose import ModelRequest, choose_partner
from rlguide.serving.export import Wish, export, next_steps
from rlguide.workspace import Workspace, read_json
from tests.policy.checkpoint_files import lora_shapes, write_lora, write_model, write_safetensors

STACK = Policy("models/tiny-base", ("saves/tiny/lora/sft", "saves/tiny/lora/dpo"), "qwen3_nothink")
SCRIPT = """#!{python}
import json, os, shutil, signal, sys, yaml
from pathlib import Path
config = yaml.safe_load(Path(sys.argv[2]).read_text(encoding="utf-8"))
out = Path(config["export_dir"])
with open({calls!r}, "a") as file:
    file.write(json.dumps(config) + "\\n")
for name in ("config.json", "tokenizer.json", "model.safetensors"):
    shutil.copyfile(Path(config["model_name_or_path"]) / name, out / name)
weights = out / "model.safetensors"
if {mode!r} == "fails":
    print("Traceback (most recent call last):\\n  File \\"x.py\\", line 1\\nValueError: something inside")
    sys.exit(3)
if {mode!r} == "truncates":
    weights.write_bytes(weights.read_bytes()[:-1])
if {mode!r} == "halves":
    raw = weights.read_bytes().replace(b'"F32"', b'"F16"')
    weights.write_bytes(raw)
if {mode!r} == "forgets the tokenizer":
    (out / "tokenizer.json").unlink()
if {mode!r} == "is interrupted":
    os.kill(os.getppid(), signal.SIGINT)
    import time
    time.sleep(60)
"""

# The worker that scores a stack and its merge; what it says of the merge is in the file `merged`.
SCORER = """#!{python}
import json, sys
from pathlib import Path
if not sys.argv[1].endswith("match_logits.py"):
    sys.exit(1)
rows = [{{"tokens": [1, 2, 3], "logps": [-1.0, -2.0], "greedy": [7, 8], "gaps": [1.0, 1.0]}}] * 2
print(json.dumps({{"phase": "loading", "prompts": 2}}))
for model in ("trained", "stack"):
    print(json.dumps({{"model": model, "rows": rows}}))
print(Path({merged!r}).read_text() if Path({merged!r}).exists() else json.dumps({{"model": "merged", "rows": rows}}))
"""


def scale_last_weight(adapter: Path, factor: float) -> None:
    """Make the adapter another one."""
    path = adapter / "adapter_model.safetensors"
    raw = path.read_bytes()
    path.write_bytes(raw[:-4] + struct.pack("<f", factor * struct.unpack("<f", raw[-4:])[0]))


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A base, an SFT adapter and a finished DPO run on top of it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "我的 project"
    write_model(root / "models/tiny-base")
    for name, factor in (("sft", 2.0), ("dpo", 3.0)):  # two adapters, two contents
        scale_last_weight(write_lora(root / "saves/tiny/lora" / name), factor)
    manifest = {
        "method": "dpo",
        "status": "finished",
        "base": STACK.base,
        "template": STACK.template,
        "stack": list(STACK.adapters),
        "reference": {"base": STACK.base, "adapters": list(STACK.adapters[:1])},
        "config": {"stage": "dpo", "trust_remote_code": True},
    }
    (root / "saves/tiny/lora/dpo/run.json").write_text(json.dumps(manifest))
    monkeypatch.chdir(root)
    return Workspace(root)


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., Engine]:
    """Makes an engine that behaves as named."""

    def make(mode: str = "works") -> Engine:
        folder = tmp_path / f"engine that {mode}"
        folder.mkdir()
        cli = folder / "llamafactory-cli"
        cli.write_text(SCRIPT.format(python=sys.executable, mode=mode, calls=str(tmp_path / "calls")))
        python = folder / "python"
        python.write_text(SCORER.format(python=sys.executable, merged=str(tmp_path / "merged")))
        for file in (cli, python):
            file.chmod(0o755)
        return Engine(folder / "python", {"llamafactory": "0.9.5"})

    return make


def calls(tmp_path: Path) -> list[dict[str, object]]:
    """The configs that the engine was started with."""
    file = tmp_path / "calls"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def visible(folder: Path) -> list[str]:
    """What is in a folder, hidden leftovers included, locks left out."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock")) if folder.is_dir() else []


def test_the_engine_gets_the_whole_stack_and_the_base_s_own_type(
    ws: Workspace, script: Callable[..., Engine], tmp_path: Path
) -> None:
    done = export(ws, script(), ModelRequest(trust_remote_code=True))
    assert done.path == ws.root / "saves/tiny/merged/dpo"
    (config,) = calls(tmp_path)
    assert config["adapter_name_or_path"] == ",".join(STACK.adapters)
    assert config["model_name_or_path"] == STACK.base
    assert config["template"] == STACK.template
    assert config["infer_dtype"] == "float32"
    assert config["export_legacy_format"] is False
    assert config["trust_remote_code"] is True
    merged = read_checkpoint(done.path)
    assert (merged.kind, merged.stage, merged.template) == ("full", "model", STACK.template)
    assert visible(done.path.parent) == ["dpo"]
    assert visible(tmp_path / "cache/rlguide/logs") == []
    assert done.size == sum(path.stat().st_size for path in done.path.iterdir())


@pytest.mark.parametrize("written", ["dtype", "torch_dtype"])
def test_the_type_is_what_the_base_s_config_says(ws: Workspace, written: str) -> None:
    write_model(ws.root / STACK.base, **{written: "bfloat16"})
    assert room.config(STACK, ws.root / "x", fingerprint(ws, STACK), {})["infer_dtype"] == "bfloat16"


@pytest.mark.parametrize("mode", ["fails", "truncates", "halves", "forgets the tokenizer"])
def test_nothing_half_made_is_left(ws: Workspace, script: Callable[..., Engine], mode: str) -> None:
    with pytest.raises(EngineError) as caught:
        merge(ws, script(mode), STACK, ws.root / "out/put")
    assert visible(ws.root / "out") == []
    assert "\n" not in caught.value.what + caught.value.fix
    if mode == "fails":
        assert "something inside" in caught.value.what
        log = Path(caught.value.fix.rpartition("log: ")[2])
        assert "something inside" in log.read_text()
        assert log.with_name("export.yaml").is_file()


def scored(tmp_path: Path, **changes: object) -> None:
    """Let the worker say this of the merged model."""
    row = {"tokens": [1, 2, 3], "logps": [-1.0, -2.0], "greedy": [7, 8], "gaps": [1.0, 1.0]}
    (tmp_path / "merged").write_text(json.dumps({"model": "merged", "rows": [row, {**row, **changes}]}))


def test_a_merge_that_is_another_model_does_not_get_its_name(
    ws: Workspace, script: Callable[..., Engine], tmp_path: Path
) -> None:
    scored(tmp_path, logps=[-1.0, -2.002])
    with pytest.raises(EngineError, match=r"differ by up to 0\.002 nats \(0\.001 allowed in float32\)"):
        merge(ws, script(), STACK, ws.root / "out/put")
    assert visible(ws.root / "out") == ["put.not-verified"]


def test_a_merge_that_is_another_model_is_kept_but_never_taken_for_finished(
    ws: Workspace, script: Callable[..., Engine], tmp_path: Path
) -> None:
    scored(tmp_path, logps=[-1.0, -2.002])
    engine = script()
    for _ in range(2):  # the second one takes the place of the first
        with pytest.raises(EngineError, match=r"kept as saves/tiny/merged/dpo\.not-verified$"):
            export(ws, engine, ModelRequest(trust_remote_code=True))
    kept = ws.root / "saves/tiny/merged/dpo.not-verified"
    assert visible(kept.parent) == [kept.name]
    assert (kept / "model.safetensors").is_file()
    for refused in (lambda: read_checkpoint(kept), lambda: choose_partner(ws, ModelRequest(str(kept)), dict)):
        with pytest.raises(CheckpointError, match="was not verified") as caught:
            refused()
    assert not is_merge_of(kept, fingerprint(ws, STACK))
    (tmp_path / "merged").unlink()
    assert merged_base(ws, engine, STACK) == "saves/tiny/merged/dpo"  # made anew
    shutil.rmtree(ws.root / "saves/tiny/merged/dpo")
    subprocess.run(shlex.split(caught.value.fix.split("`")[1]), check=True)
    assert read_checkpoint(ws.root / "saves/tiny/merged/dpo").kind == "full"


def test_a_merge_that_cannot_be_compared_is_refused_unless_told(
    ws: Workspace, script: Callable[..., Engine], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "merged").write_text("")  # the worker ends without a word about the merge
    engine = script()
    with pytest.raises(EngineError, match="could not be compared") as caught:
        merged_base(ws, engine, STACK)
    assert visible(ws.root / "saves/tiny/merged") == ["dpo.not-verified"]
    again = caught.value.fix.split("`")[3].split()
    assert again[:2] == ["rlguide", "export"]
    assert again[3:] == ["--no-verify"]
    wanted = ModelRequest(again[2], trust_remote_code=True)
    done = export(ws, engine, wanted, Wish(is_compared=False))
    assert done.compared is None
    assert "not compared with the stack" in next_steps(done)
    assert read_json(done.path / "rlguide.json")["compared"] is None
    capsys.readouterr()
    assert merged_base(ws, engine, STACK) == done.name
    assert "never compared" in " ".join(capsys.readouterr().err.split())


def test_what_was_compared_is_on_record(ws: Workspace, script: Callable[..., Engine], tmp_path: Path) -> None:
    scored(tmp_path, logps=[-1.0, -2.0005])
    done = export(ws, script(), ModelRequest(trust_remote_code=True))
    found = read_json(done.path / "rlguide.json")["compared"]
    assert found["difference"] == pytest.approx(5e-4)
    assert (found["prompts"], found["tokens"], found["dtype"], found["tolerance"]) == (2, 4, "float32", 1e-3)
    assert done.as_dict()["compared"] == found
    assert "at most 0.0005 nats off" in " ".join(next_steps(done))


def test_an_adapter_of_a_quantized_base_is_merged_into_the_full_one(ws: Workspace) -> None:
    keys = {"quantization_bit": 4, "quantization_method": "bnb", "double_quantization": True, "flash_attn": "sdpa"}
    found = room.config(STACK, ws.root / "x", fingerprint(ws, STACK), keys)
    assert not [key for key in found if "quantization" in key]
    assert found["flash_attn"] == "sdpa"


def test_an_interrupted_merge_leaves_nothing(ws: Workspace, script: Callable[..., Engine], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        merge(ws, script("is interrupted"), STACK, ws.root / "out/put")
    assert visible(ws.root / "out") == []
    assert visible(tmp_path / "cache/rlguide/logs") == []


def test_what_a_killed_merge_left_is_removed(ws: Workspace, script: Callable[..., Engine]) -> None:
    for owner in (2**22 + 1, os.getppid()):
        folder = ws.root / f"out/.put.{owner}.merging"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"half")
    merge(ws, script(), STACK, ws.root / "out/put")
    assert visible(ws.root / "out") == [f".put.{os.getppid()}.merging", "put"]  # one process still runs


def test_a_folder_that_holds_something_is_refused(ws: Workspace, script: Callable[..., Engine], tmp_path: Path) -> None:
    target = ws.root / "mine"
    target.mkdir()
    merge(ws, script(), STACK, target)  # an empty one is not
    with pytest.raises(UsageError, match="exactly this stack already"):
        merge(ws, script("is not needed"), STACK, target)
    (ws.root / "other").mkdir()
    (ws.root / "other/notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something"):
        merge(ws, script("is not needed either"), STACK, ws.root / "other")
    assert visible(ws.root / "other") == ["notes.txt"]
    (ws.root / "file").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        merge(ws, script("is never needed"), STACK, ws.root / "file")
    assert len(calls(tmp_path)) == 1


def test_a_full_disk_is_known_before_the_start(
    ws: Workspace, script: Callable[..., Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (ws.root / STACK.base / "model.safetensors").stat().st_size
    monkeypatch.setattr(room, "free_bytes", lambda path: size)
    with pytest.raises(RlguideError, match="are free"):
        merge(ws, script(), STACK, ws.root / "out")
    assert calls(tmp_path) == []


def test_a_model_without_adapters_is_refused(ws: Workspace, script: Callable[..., Engine]) -> None:
    write_model(ws.root / "saves/full")
    with pytest.raises(UsageError, match="no adapter to merge"):
        export(ws, script(), ModelRequest("saves/full", template="qwen3_nothink"))
    assert merged_base(ws, script("is not needed"), Policy(STACK.base)) == STACK.base


def test_a_reward_model_is_refused(ws: Workspace, script: Callable[..., Engine]) -> None:
    file = ws.root / "saves/tiny/lora/dpo/run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "method": "rm"}))
    for name in (None, "saves/tiny/lora/dpo"):
        with pytest.raises(UsageError, match="reward model"):
            export(ws, script(f"is not needed for {name is None}"), ModelRequest(name, trust_remote_code=True))


def test_a_record_does_not_decide_whose_code_runs(ws: Workspace, script: Callable[..., Engine], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="runs code that comes with its base"):
        export(ws, script("is not needed"), ModelRequest())
    assert calls(tmp_path) == []


def test_a_missing_part_is_named(ws: Workspace, script: Callable[..., Engine]) -> None:
    shutil.rmtree(ws.root / "saves/tiny/lora/sft")
    with pytest.raises(CheckpointError, match="saves/tiny/lora/sft"):
        merge(ws, script(), STACK, ws.root / "out")


def test_a_checkpoint_of_a_run_is_named_by_its_step(ws: Workspace, script: Callable[..., Engine]) -> None:
    write_lora(ws.root / "saves/tiny/lora/dpo/checkpoint-10")
    with pytest.raises(UsageError, match="step 3") as caught:
        export(ws, script("is not needed"), ModelRequest(trust_remote_code=True, step=3))
    assert "10, 20" in caught.value.fix
    done = export(ws, script(), ModelRequest(trust_remote_code=True, step=10))
    assert done.path == ws.root / "saves/tiny/merged/dpo-10"
    assert done.policy.adapters == ("saves/tiny/lora/sft", "saves/tiny/lora/dpo/checkpoint-10")


@pytest.mark.parametrize(
    ("adapter", "folder"),
    [
        ("saves/qwen/lora/sft", "saves/qwen/merged/sft"),
        ("saves/sft", "saves/tiny-base/merged/sft"),
        ("saves/sft/checkpoint-7", "saves/tiny-base/merged/sft-7"),
        ("elsewhere/sft", "saves/tiny-base/merged/sft"),
    ],
)
def test_the_default_folder(ws: Workspace, adapter: str, folder: str) -> None:
    assert default_folder(ws, Policy(STACK.base, (adapter,))) == ws.root / folder


def test_a_merge_is_used_again_only_for_the_same_stack(
    ws: Workspace, script: Callable[..., Engine], tmp_path: Path
) -> None:
    engine = script()
    first = merged_base(ws, engine, STACK)
    assert first == "saves/tiny/merged/dpo"
    assert merged_base(ws, engine, STACK) == first
    assert len(calls(tmp_path)) == 1
    scale_last_weight(ws.root / "saves/tiny/lora/sft", 0.5)  # the lower adapter was trained again
    second = merged_base(ws, engine, STACK)
    assert second != first
    assert (ws.root / first).is_dir()
    assert merged_base(ws, engine, STACK) == second
    assert len(calls(tmp_path)) == 2


def test_a_workspace_that_was_moved_keeps_its_merges(
    ws: Workspace, script: Callable[..., Engine], tmp_path: Path
) -> None:
    engine = script()
    first = merged_base(ws, engine, STACK)
    moved = ws.root.rename(tmp_path / "搬走")
    os.chdir(moved)
    assert merged_base(Workspace(moved), engine, STACK) == first
    assert len(calls(tmp_path)) == 1


def test_two_at_once_merge_once(ws: Workspace, script: Callable[..., Engine], tmp_path: Path) -> None:
    engine = script()
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda _: merged_base(ws, engine, STACK), range(2)))
    assert folders == ["saves/tiny/merged/dpo"] * 2
    assert len(calls(tmp_path)) == 1


def change_weights(root: Path) -> None:
    file = root / "saves/tiny/lora/dpo/adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\1")


def change_base(root: Path) -> None:
    file = root / "models/tiny-base/model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    os.utime(file, ns=(1, 1))


def damage_the_merge(root: Path) -> None:
    file = root / "out/model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def lose_the_tokenizer(root: Path) -> None:
    (root / "out/tokenizer.json").unlink()


def break_the_manifest(root: Path) -> None:
    (root / "out/rlguide.json").write_text('{"files": []}')


@pytest.mark.parametrize(
    "change", [change_weights, change_base, damage_the_merge, lose_the_tokenizer, break_the_manifest]
)
def test_any_change_makes_another_merge(
    ws: Workspace, script: Callable[..., Engine], change: Callable[[Path], None]
) -> None:
    merge(ws, script(), STACK, ws.root / "out")
    assert is_merge_of(ws.root / "out", fingerprint(ws, STACK))
    change(ws.root)
    assert not is_merge_of(ws.root / "out", fingerprint(ws, STACK))


def test_order_template_and_base_make_another_merge(ws: Workspace, script: Callable[..., Engine]) -> None:
    merge(ws, script(), STACK, ws.root / "out")
    others = [
        Policy(STACK.base, STACK.adapters[::-1], STACK.template),
        Policy(STACK.base, STACK.adapters[:1], STACK.template),
        Policy(STACK.base, STACK.adapters, "llama3"),
        Policy("saves/full", STACK.adapters, STACK.template),
    ]
    write_model(ws.root / "saves/full")
    assert not any(is_merge_of(ws.root / "out", fingerprint(ws, other)) for other in others)


@pytest.mark.parametrize(
    ("base", "adapter", "is_refused"),
    [
        ({"tie_word_embeddings": True}, {"modules_to_save": ["embed_tokens"]}, True),
        ({"tie_word_embeddings": True}, {"modules_to_save": ["model.lm_head"]}, True),
        ({"text_config": {"tie_word_embeddings": True}}, {"modules_to_save": ["embed_tokens", "lm_head"]}, True),
        ({}, {"modules_to_save": ["embed_tokens"]}, True),  # its weights hold no output layer
        ({"tie_word_embeddings": False}, {"modules_to_save": ["embed_tokens"]}, False),
        ({"tie_word_embeddings": True}, {"modules_to_save": ["norm"]}, False),
        ({"tie_word_embeddings": True}, {"modules_to_save": None}, False),
    ],
)
def test_an_adapter_on_tied_embeddings_is_not_merged(
    ws: Workspace, script: Callable[..., Engine], base: dict[str, object], adapter: dict[str, object], is_refused: bool
) -> None:
    write_model(ws.root / STACK.base, **base)
    file = ws.root / STACK.adapters[0] / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **adapter}))
    if not is_refused:
        merge(ws, script(), STACK, ws.root / "out")
        return
    with pytest.raises(UsageError, match=r"saves/tiny/lora/sft trains .* another model"):
        merge(ws, script(), STACK, ws.root / "out")
    assert not (ws.root / "out").exists()


def test_lora_on_tied_embeddings_is_not_merged(ws: Workspace, script: Callable[..., Engine]) -> None:
    write_model(ws.root / STACK.base, tie_word_embeddings=True)
    layer = "base_model.model.model.embed_tokens"
    shapes = {f"{layer}.lora_embedding_A": (4, 64), f"{layer}.lora_embedding_B": (16, 4), **lora_shapes()}
    write_safetensors(ws.root / STACK.adapters[1] / "adapter_model.safetensors", shapes)
    with pytest.raises(UsageError, match="saves/tiny/lora/dpo trains embed_tokens"):
        merge(ws, script(), STACK, ws.root / "out")
