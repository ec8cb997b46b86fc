"""Which model a name means: a run, a checkpoint, a merged folder, `base`, `sft`, or an OpenAI-compatible address."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rlguide.engine.find import Engine
from rlguide.engine.schema import load_schema
from rlguide.errors import UsageError
from rlguide.inference.endpoint import Endpoint, is_address
from rlguide.inference.loaded import LoadedPolicy
from rlguide.inference.model import Model
from rlguide.policy.checkpoint import locate
from rlguide.policy.policy import Policy
from rlguide.policy.run_record import RUN_FILE
from rlguide.runs.choose import ModelRequest, Partner, choose_partner, run_meant
from rlguide.runs.record import Run, open_run
from rlguide.workspace import Workspace

BASE, SFT = "base", "sft"
_STEP = re.compile(r"(.+):(\d{1,12})")  # RUN:STEP
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True)
class Choice:
    """How models are found.

    Attributes:
        find_engine: gives the engine; only called where a policy has to be loaded.
        wanted: what the options of the command say of every model that is not an address (template, trust, step).
        run: whose base and SFT model `base` and `sft` mean; None: the newest usable run's.
        model: what an endpoint is asked for; None: the only one that it serves.
    """

    ws: Workspace
    find_engine: Callable[[], Engine]
    wanted: ModelRequest
    run: Run | None = None
    model: str | None = None

    def named(self, name: str | None) -> Model:
        """The model that a name means; None: the newest usable run. RUN:STEP is a run at a step.

        Raises:
            UsageError, CheckpointError, EngineError: it cannot be found.
        """
        if name is not None and is_address(name):
            return Endpoint(name, self.model)
        if name is not None and (step := at_its_step(self.ws, name)):
            return replace(self, wanted=replace(self.wanted, step=step[1], last=False)).named(step[0])
        engine = self.find_engine()
        if name is not None and self.is_of_run(name):
            return self._of_run(name, engine)
        partner = self._partner(replace(self.wanted, name=name), engine)
        return LoadedPolicy(self.ws, engine, partner.policy, partner.args, name or "", partner.title)

    def is_of_run(self, name: str) -> bool:
        """Whether a name is `base` or `sft`, the model of a run, and no folder is called so."""
        return name in (BASE, SFT) and not (self.ws.root / name).exists()

    def _partner(self, wanted: ModelRequest, engine: Engine) -> Partner:
        return choose_partner(self.ws, wanted, lambda: load_schema(engine).model_templates)

    def _of_run(self, name: str, engine: Engine) -> Model:
        """The base or the SFT model of the run, loaded as the run loads it."""
        run = self.run or run_meant(self.ws, ModelRequest())
        if run is None:
            raise UsageError(f"`{name}` is a model of a run, and there is none", "name a folder, or train a run first")
        partner = self._partner(replace(self.wanted, name=run.name, sft=True, step=None, last=False), engine)
        if name == SFT:
            return LoadedPolicy(self.ws, engine, partner.policy, partner.args, name, partner.title)
        policy = Policy(partner.policy.base, (), partner.policy.template)
        adapters = partner.policy.model_config().keys() - policy.model_config().keys()
        args = {key: value for key, value in partner.args.items() if key not in adapters}
        return LoadedPolicy(self.ws, engine, policy, args, name, f"base ({policy.base}), template {policy.template}")


def at_its_step(ws: Workspace, name: str) -> tuple[str, int] | None:
    """The run and the step of RUN:STEP; None of any other name, also where a folder is called so."""
    found = _STEP.fullmatch(name)
    return None if not found or is_address(name) or locate(ws, name).exists() else (found[1], int(found[2]))


def run_named(ws: Workspace, names: Sequence[str]) -> Run | None:
    """The first run among the names of models, also where a step or a checkpoint of it is named; None if there is none.

    Raises:
        DataError: its record is damaged.
    """
    for name in names:
        if is_address(name) or name in (BASE, SFT):
            continue
        step = at_its_step(ws, name)
        path = locate(ws, step[0] if step else name)
        for folder in (path, path.parent):
            if (folder / RUN_FILE).is_file():
                return open_run(ws, ws.relative(folder))
    return None


def named_all(choice: Choice, names: Sequence[str]) -> tuple[dict[str, Model], Run | None]:
    """The models of these names by short ones, and the run that they are of, if one is.

    Without names the SFT model and the newest usable run; of a single run its SFT model goes first. Where `base` or
    `sft` is named and no run is, the newest usable run is the one that they are of.

    Raises:
        UsageError, CheckpointError, EngineError: one cannot be found.
    """
    run = choice.run
    if not names:
        run = run_meant(choice.ws, ModelRequest())
        if run is None:
            raise UsageError("there is no run to compare", "name two models: `rlguide compare A B`")
        names = [run.name]
    if len(names) == 1:
        if run is None or names[0] in (BASE, SFT):
            raise UsageError(
                "one model is no comparison", f"name another one: `rlguide compare {shlex.quote(names[0])} B`"
            )
        names = [SFT, *names]
    if run is None and any(choice.is_of_run(name) for name in names):
        run = run_meant(choice.ws, ModelRequest())
    found = replace(choice, run=run)
    return {short: found.named(name) for short, name in zip(short_names(names), names, strict=True)}, run


def short_names(names: Sequence[str]) -> list[str]:
    """A short name for each, no two alike: as many parts of its path, from the end, as tell it from the others.

    A checkpoint has its run in front and its step behind (`dpo:60`); what is named twice is numbered.
    """
    parts = [_parts(name) for name in names]
    shown: list[str] = []
    for own in parts:
        others = [other for other in parts if other != own]
        count = next((n for n in range(1, len(own)) if all(other[-n:] != own[-n:] for other in others)), len(own))
        short = "/".join(own[-count:])
        number = next(n for n in range(1, len(names) + 1) if _numbered(short, n) not in shown)
        shown.append(_numbered(short, number))
    return shown


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name} ({number})"


def _parts(name: str) -> list[str]:
    if is_address(name):
        address, _, model = name.partition("#")
        return [part for part in (re.sub(r"^https?://|/v1/*$|/+$", "", address), model) if part]
    parts = [part for part in Path(name).parts if part not in ("/", ".")] or [name]
    if len(parts) > 1 and (step := _CHECKPOINT.fullmatch(parts[-1])):
        return [*parts[:-2], f"{parts[-2]}:{step[1]}"]
    return parts
