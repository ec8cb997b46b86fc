"""The stack is the model: the stack, its merged export and LLaMA-Factory's API server give the same responses."""

from __future__ import annotations

import array
import dataclasses
import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from rlguide.engine.find import Engine
from rlguide.engine.process import EngineProcess
from rlguide.engine.worker import engine_environment
from rlguide.errors import EngineError
from rlguide.inference.endpoint import Endpoint
from rlguide.policy import merge as merge_room
from rlguide.policy.merge import merge, merged_base
from rlguide.policy.policy import Policy
from rlguide.policy.safetensors import read_header
from rlguide.workspace import Workspace, read_json
from tests.e2e.conftest import SFT, Bench, generate_each, rlguide_executable
from tests.policy.go_template import parse_modelfile, render

pytestmark = pytest.mark.engine

RUN = "saves/tiny/lora/dpo"
TEMPLATE = "qwen3_nothink"
PROMPTS = (
    "你好",
    "hi there",
    "Question 3: 你好, what is 3 plus 3?",
    "Name three fruits.",
    "写一首关于春天的诗",
    "what is 7 plus 7?",
)
LENGTH = 24  # new tokens


def responses(bench: Bench, *policies: Policy) -> list[list[str]]:
    """Greedy responses of each policy, as `rlguide chat` loads it."""
    questions = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    return generate_each(bench.engine, [item.model_config() for item in policies], questions, bench.root, LENGTH)


def to_bfloat16(folder: Path) -> None:
    """Write the same weights in half the bits: of a float32 the upper two bytes are a bfloat16."""
    file = folder / "model.safetensors"
    raw = file.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8:start]), bytearray((len(raw) - start) // 2)
    data[0::2], data[1::2] = raw[start + 2 :: 4], raw[start + 3 :: 4]
    for name, tensor in header.items():
        if name != "__metadata__":
            assert tensor["dtype"] == "F32"
            tensor |= {"dtype": "BF16", "data_offsets": [offset // 2 for offset in tensor["data_offsets"]]}
    said = json.dumps(header).encode()
    file.write_bytes(len(said).to_bytes(8, "little") + said + data)
    config = read_json(folder / "config.json")
    config.pop("torch_dtype", None)
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}), encoding="utf-8")


@contextmanager
def api_server(bench: Bench, policy: Policy, folder: Path) -> Iterator[str]:
    """LLaMA-Factory's own server with this policy; gives its address. It is stopped in any case."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "api.yaml"
    config.write_text(json.dumps(policy.model_config()), encoding="utf-8")  # JSON is YAML
    environment = engine_environment(bench.engine, API_HOST="127.0.0.1", API_PORT=str(port), HF_HUB_OFFLINE="1")
    environment.pop("API_KEY", None)
    address, log = f"http://127.0.0.1:{port}", folder / "api.log"
    command = [str(bench.engine.cli), "api", str(config)]
    with EngineProcess(command, bench.root, environment, log) as process:
        deadline = time.monotonic() + 120
        while True:
            assert process.returncode is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, "the server did not start"
            try:
                call(f"{address}/v1/models")
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)
        yield address


def call(address: str, body: dict[str, object] | None = None) -> dict[str, object]:
    """One request without a proxy, whatever the environment says."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as response:
        value: dict[str, object] = json.load(response)
    return value


def served_responses(address: str) -> list[str]:
    """The server's greedy responses to the same prompts."""
    texts = []
    for prompt in PROMPTS:
        body = {
            "model": "policy",
            "messages": [{"role": "user", "content": prompt}],
            "do_sample": False,
            "temperature": 0,
            "max_tokens": LENGTH,
        }
        (choice,) = call(f"{address}/v1/chat/completions", body)["choices"]  # type: ignore[misc]
        texts.append(choice["message"]["content"])
    return texts


def asked_as_an_endpoint(address: str) -> tuple[list[str], str]:
    """The same through `Endpoint`: greedy responses to all prompts at once, and to the first one streamed."""
    with Endpoint(f"{address}/v1") as model:
        prompts = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
        found = dict(model.responses(prompts, LENGTH))
        streamed = "".join(model.stream(prompts[0], LENGTH, 0.0))
    return [found[at].text for at in range(len(PROMPTS))], streamed


def altered(folder: Path, out: Path) -> None:
    """A copy of a model, with the last layer's `down_proj` five per cent larger."""
    shutil.copytree(folder, out, dirs_exist_ok=True)
    file = out / "model.safetensors"
    raw = bytearray(file.read_bytes())
    start = 8 + int.from_bytes(raw[:8], "little")
    begin, end = json.loads(raw[8:start])["model.layers.1.mlp.down_proj.weight"]["data_offsets"]
    values = array.array("f", raw[start + begin : start + end])
    raw[start + begin : start + end] = array.array("f", [1.05 * value for value in values]).tobytes()
    file.write_bytes(raw)


def test_stack_merged_export_and_api_server_respond_alike(
    trained: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "导出 models" / "polite"
    done = trained.run("export", RUN, "--output", str(output), "--json")
    said = json.loads(done.stdout)
    assert said["path"] == str(output)
    assert said["stack"] == [SFT, RUN]
    stack = Policy("models/tiny", (SFT, RUN), TEMPLATE)
    alone = (Policy("models/tiny", (SFT,), TEMPLATE), Policy("models/tiny", (RUN,), TEMPLATE))
    expected, merged, *others = responses(trained, stack, Policy(str(output), (), TEMPLATE), *alone)
    assert merged == expected
    with api_server(trained, stack, tmp_path) as address:
        assert served_responses(address) == expected
        assert asked_as_an_endpoint(address) == (expected, expected[0])
    # The test can fail: without the upper adapter, or without the lower one, other responses come.
    assert len(others) == 2 and expected not in others
    shapes = read_header(trained.root / "models/tiny/model.safetensors")
    assert read_header(output / "model.safetensors") == shapes  # names, shapes and types of the base
    assert [path.name for path in output.parent.iterdir() if path.is_dir()] == ["polite"]
    chat = subprocess.run(
        [rlguide_executable(), "chat", str(output), "--temperature", "0", "--max-new-tokens", str(LENGTH), "--json"],
        input="hi there\n",
        cwd=trained.root,
        env=trained.environment(),
        capture_output=True,
        text=True,
    )
    assert json.loads(chat.stdout)["response"] == expected[PROMPTS.index("hi there")]
    assert f"template {TEMPLATE}" in chat.stderr
    assert "config.json" not in chat.stderr  # read beside the model, not guessed
    said_to_ollama = dict(parse_modelfile((output / "Modelfile").read_text(encoding="utf-8")))
    prompt = render(said_to_ollama["TEMPLATE"], "", [{"role": "user", "content": "hi"}])
    assert prompt == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert said_to_ollama["PARAMETER stop"] == "<|im_end|>"
    card = ModelCard.load(output / "README.md")
    assert card.data.to_dict()["tags"][-1] == "dpo"
    assert "20 prompts were scored" in card.text and "Not evaluated" in card.text
    # Scored beside the stack before it got its name; another model with the same files does not get one.
    assert said["compared"] == read_json(output / "rlguide.json")["compared"]
    assert said["compared"]["prompts"] == 20
    assert said["compared"]["dtype"] == "float32"
    assert said["compared"]["difference"] < 1e-5
    assert 0 < said["compared"]["trained_difference"] < 1e-4
    monkeypatch.chdir(trained.root)

    def alters(ws: Workspace, engine: Engine, values: dict[str, Any], view: object) -> None:
        altered(output, Path(values["export_dir"]))

    monkeypatch.setattr(merge_room, "_run_engine", alters)
    monkeypatch.setattr(merge_room, "match_template", lambda *_: None)  # as above; it needs a process of its own
    with pytest.raises(EngineError, match=r"log-probabilities differ by up to .* \(0\.001 allowed in float32\)"):
        merge(Workspace(trained.root), trained.engine, stack, output.with_name("altered"))
    assert not output.with_name("altered").exists()
    kept = sorted(path.name for path in output.parent.iterdir() if path.is_dir())
    assert kept == ["altered.not-verified", "polite"]
    assert "comparing the merged model with the stack on 20 prompts" in " ".join(capsys.readouterr().err.split())


def test_a_merged_base_of_a_half_precision_model_is_the_stack_and_is_used_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_bfloat16(bench.root / "models/tiny")
    monkeypatch.setattr(merge_room, "match_template", lambda *_: None)  # the first test has it
    ws, policy = Workspace(bench.root), Policy("models/tiny", (SFT,), TEMPLATE)
    folder = merged_base(ws, bench.engine, policy)
    types = {tensor.dtype for tensor in read_header(bench.root / folder / "model.safetensors").values()}
    assert types == {"BF16"}
    merged, stack = responses(bench, Policy(folder, (), TEMPLATE), policy)
    assert merged == stack
    nowhere = dataclasses.replace(bench.engine, python=bench.root / "no engine here")
    assert merged_base(ws, nowhere, policy) == folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_export_leaves_nothing(trained: Bench, tmp_path: Path, number: signal.Signals) -> None:
    output = tmp_path / "exports" / "polite"
    process = trained.start("export", RUN, "--output", str(output), env={"XDG_CACHE_HOME": str(tmp_path / "cache")})
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("cache/rlguide/logs/export-*/engine.log")):
        assert time.monotonic() < deadline, "the engine was not started"
        assert process.poll() is None
        time.sleep(0.05)
    engines = engine_processes(trained.root)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert list(output.parent.iterdir()) == []
    assert list(tmp_path.glob("cache/rlguide/logs/export-*")) == []
    assert not any(Path(f"/proc/{pid}").exists() for pid in engines)
    assert engine_processes(trained.root) == []


def engine_processes(root: Path) -> list[int]:
    """Ids of the running exports whose current folder is this workspace."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            inside = (folder / "cwd").resolve() == root.resolve()
            if inside and b"llamafactory-cli" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found
