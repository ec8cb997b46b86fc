"""Which model a name means: a run, a checkpoint, a merged folder, `base`, `sft`, or an OpenAI-compatible address."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from rlguide.engine.find import Engine
from rlguide.engine.schema import load_schema
from rlguide.errors import UsageError
from rlguide.inference.endpoint import Endpoint, is_address
from rlguide.inference.loaded import LoadedPolicy
from rlguide.inference.model import Model
from rlguide.policy.policy import Policy
from rlguide.runs.choose import ModelRequest, Partner, choose_partner, run_meant
from rlguide.runs.record import Run
from rlguide.workspace import Workspace

BASE, SFT = "base", "sft"


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
        """The model that a name means; None: the newest usable run.

        Raises:
            UsageError, CheckpointError, EngineError: it cannot be found.
        """
        if name is not None and is_address(name):
            return Endpoint(name, self.model)
        engine = self.find_engine()
        if name in (BASE, SFT) and not (self.ws.root / name).exists():
            return self._of_run(name, engine)
        partner = self._partner(replace(self.wanted, name=name), engine)
        return LoadedPolicy(self.ws, engine, partner.policy, partner.args, name or "", partner.title)

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
