"""The ready recipes in the real engine: its argument table takes each, and a copy of one trains."""

from __future__ import annotations

import math

import pytest

from rlguide.catalog.recipes import ready_recipes
from rlguide.engine.find import Engine
from rlguide.engine.schema import load_schema
from rlguide.policy.template import template_for
from rlguide.recipes.ready import filled
from tests.e2e.conftest import SFT, Bench, settings

pytestmark = pytest.mark.engine
RECIPE = "qwen3-0.6b-base-dpo-1x24gb"


def test_the_engine_has_every_key_and_template(engine: Engine) -> None:
    schema = load_schema(engine)
    for name, recipe in ready_recipes().items():
        assert schema.problems(filled(recipe).config) == [], name
        assert recipe.model.template in schema.templates
        assert template_for(recipe.model.hub_id, schema.model_templates).name == recipe.model.template


def test_a_copy_trains(bench: Bench) -> None:
    """With the model and the adapter changed by hand, as the file says one may."""
    copied = bench.run("recipes", "copy", RECIPE, "configs/我的 recipe.yaml", "--dataset", "polite").stdout.strip()
    assert copied == "configs/我的 recipe.yaml"
    file = bench.root / copied
    text = file.read_text(encoding="utf-8")
    for before, after in (("Qwen/Qwen3-0.6B-Base", "models/tiny"), ("saves/qwen3-0.6b-base/lora/sft", SFT)):
        assert text.count(f": {before}\n") == 1
        text = text.replace(f": {before}\n", f": {after}\n")
    file.write_text(text, encoding="utf-8")
    bench.run("train", "--config", copied, *settings("use_cpu=true", "bf16=false"))
    first = bench.history("saves/qwen3-0.6b-base/lora/dpo")[0]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert first["step"] == 1
