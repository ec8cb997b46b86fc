"""The tokenizer and template that a training of a checkpoint would use, for counting tokens beforehand."""

from __future__ import annotations

from rlguide.data.inspect.tokens import Tokenizer
from rlguide.engine.find import find_engine
from rlguide.engine.schema import load_schema
from rlguide.policy.base import find_base
from rlguide.policy.checkpoint import locate, resolve_checkpoint
from rlguide.policy.policy import starting_point
from rlguide.policy.template import template_for
from rlguide.recipes.render import load_recipe
from rlguide.workspace import Workspace


def tokenizer_of(ws: Workspace, model: str, template: str | None = None, engine: str | None = None) -> Tokenizer:
    """The tokenizer of a checkpoint (`latest`, a folder) or base model (folder, hub id) in an engine.

    Raises:
        CheckpointError, UsageError, EngineError: as a training with them would.
    """
    found = find_engine(engine)
    name, recorded = model, None
    if model == "latest" or (locate(ws, model) / "adapter_config.json").exists():
        start = starting_point(ws, resolve_checkpoint(ws, model), trust_base=True)
        base, recorded = start.base, start.reference.template
        name = base.name
    else:
        base = find_base(ws, model)
    if template is None:
        template = template_for(name, load_schema(found).model_templates, base.config, recorded).name
    return Tokenizer(found, str(base.folder or base.name), template)


def default_cutoff_len() -> int:
    """The cutoff_len of the recipe for pairs, in tokens."""
    return int(load_recipe("dpo").defaults["cutoff_len"])
