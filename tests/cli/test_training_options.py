"""Every option of a training reaches the record, from each command; what has no effect is refused, not dropped."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from rlguide.recipes.options import TrainingOptions
from tests.cli.command import run
from tests.engine.fake_engines import main_engine

# A field: what is typed, and what the record holds then.
TYPED: dict[str, tuple[list[str], object]] = {
    "sft_ckpt": (["--sft-ckpt", "saves/sft"], "saves/sft"),
    "from_run": (["--from", "saves/dpo"], "saves/dpo"),
    "step": (["--step", "20"], 20),
    "last": (["--last"], True),
    "method": (["--method", "kto"], "kto"),
    "loss": (["--loss", "ipo"], "ipo"),
    "datasets": (["--dataset", "a, b"], ("a", "b")),
    "config": (["--config", "dpo.yaml"], Path("dpo.yaml")),
    "base": (["--base", "Qwen/Qwen3-4B-Base"], "Qwen/Qwen3-4B-Base"),
    "trust_base": (["--trust-base"], True),
    "template": (["--template", "qwen"], "qwen"),
    "output_dir": (["-o", "saves/run"], "saves/run"),
    "settings": (["-s", "pref_beta=0.2", "--set", "seed=1"], {"pref_beta": 0.2, "seed": 1}),
    "quantization": (["--quantization", "4"], 4),
    "reward_model": (["--reward-model", "saves/rm"], "saves/rm"),
    "report_to": (["--report-to", "tensorboard,wandb"], "tensorboard,wandb"),
    "best_by": (["--best-by", "margin"], "margin"),
    "sharing": (["--sharing", "fsdp"], "fsdp"),
}
BESIDE_CONFIG = ("config", "template", "output_dir", "settings", "quantization", "report_to", "sharing")


class _Reached(BaseException):  # no command catches it
    pass


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return str(main_engine(tmp_path).python)


@pytest.fixture
def reached(engine: str, monkeypatch: pytest.MonkeyPatch) -> list[TrainingOptions]:
    """The records with which a command asked for a config; nothing is prepared."""
    found: list[TrainingOptions] = []

    def prepare(ws: object, main: object, options: TrainingOptions, *others: object, **named: object) -> None:
        found.append(options)
        raise _Reached

    monkeypatch.setattr("rlguide.recipes.prepare.prepare", prepare)
    monkeypatch.setenv("RLGUIDE_ENGINE", engine)
    return found


def test_every_field_is_typed_below() -> None:
    assert list(TYPED) == [item.name for item in fields(TrainingOptions)]


@pytest.mark.parametrize("command", ["train", "configure", "plan"])
@pytest.mark.parametrize("name", TYPED)
def test_an_option_reaches_the_record(reached: list[TrainingOptions], command: str, name: str) -> None:
    words, value = TYPED[name]
    if (command, name) == ("configure", "config"):
        assert run(command, *words) == 2
        return
    if command == "plan" and name in ("config", "quantization"):
        return  # a plan takes these in afterwards: tests/e2e/test_plan.py
    with pytest.raises(_Reached):
        run(command, *words)
    assert reached == [TrainingOptions(**{name: value})]  # type: ignore[arg-type]
    assert reached[0].given() == [name]


@pytest.mark.parametrize("name", [name for name in TYPED if name != "report_to"])
def test_resume_refuses_every_option(engine: str, capsys: pytest.CaptureFixture[str], name: str) -> None:
    words = TYPED[name][0]
    assert run("train", "--resume", *words, "--engine", engine) == 2
    error = capsys.readouterr().err
    assert "takes no other option" in error
    assert {"-s": "--set", "-o": "--output-dir"}.get(words[0], words[0]) in error
    assert len(error.strip().splitlines()) == 2


@pytest.mark.parametrize("name", [name for name in TYPED if name not in BESIDE_CONFIG])
def test_a_config_refuses_what_it_says_itself(engine: str, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert run("train", "--config", "dpo.yaml", *TYPED[name][0], "--engine", engine) == 2
    assert "--config already says" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "configure", "plan"])
@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--reward-model", "saves/rm"], "--reward-model has no effect with dpo"),
        (["--method", "kto", "--reward-model", "saves/rm"], "--reward-model has no effect with kto"),
        (["--step", "20"], "--step and --last choose a step of a run, and none is named"),
        (["--from", "saves/sft", "--last"], "--step and --last choose a step of a run, and none is named"),
        (["--best-by", "length"], "--best-by length: no figure length"),
        (["--method", "kto", "--best-by", "accuracy"], "--best-by accuracy: kto logs no held-out accuracy"),
        (["--quantization", "3"], "--quantization 3 is not 4 or 8"),
        (["--sft-ckpt", "latest", "--from", "saves/dpo"], "both say where to start"),
        (["--loss", "simpo"], "simpo is a method: --method simpo"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    engine: str, capsys: pytest.CaptureFixture[str], command: str, words: list[str], error: str
) -> None:
    assert run(command, *words, "--engine", engine) == 2
    assert error in capsys.readouterr().err


def test_a_config_without_its_option_is_known_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "configs/my run.yaml") == 2
    assert "\n  fix: did you mean --config 'configs/my run.yaml'?\n" in capsys.readouterr().err


def test_quantization_is_a_key_that_a_setting_overrides() -> None:
    assert TrainingOptions(quantization=4, settings={"seed": 1}).keys == {"quantization_bit": 4, "seed": 1}
    assert TrainingOptions(quantization=4, settings={"quantization_bit": 8}).keys == {"quantization_bit": 8}
