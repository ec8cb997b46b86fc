"""The ready recipes as data: names, shapes, and the arithmetic that a template's batch asks for."""

from __future__ import annotations

from itertools import pairwise

import pytest

from rlguide.catalog import recipes
from rlguide.catalog.gpus import parse_gpus
from rlguide.catalog.recipes import Figures, find_ready_recipe, planned_figures, ready_recipes, time_on
from rlguide.errors import UsageError
from rlguide.policy.base import model_name

# Billions of parameters, as the model cards say: Qwen3 (0.6, 4.0, 8.2), Qwen2.5-7B (7.61), Llama 3.1 8B (8.03).
SIZES = {"qwen3-0.6b-base": 0.6, "qwen3-4b-base": 4.0, "qwen3-8b-base": 8.2, "qwen2.5-7b-instruct": 7.61}
SIZES |= {"llama-3.1-8b-instruct": 8.03}


def parameters(shapes: dict[str, int]) -> int:
    """Weights of the embeddings and the linear layers; norms and biases are too few to count."""
    hidden, heads, groups = (shapes[key] for key in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
    head = shapes.get("head_dim", hidden // heads)
    layer = hidden * head * (2 * heads + 2 * groups) + 3 * hidden * shapes["intermediate_size"]
    embeddings = shapes["vocab_size"] * hidden * (1 if shapes["tie_word_embeddings"] else 2)
    return embeddings + shapes["num_hidden_layers"] * layer


def test_the_shapes_make_the_models_of_the_cards() -> None:
    models = {recipe.model.name: recipe.model for recipe in ready_recipes().values()}
    assert models.keys() == SIZES.keys()
    for name, model in models.items():
        assert parameters(dict(model.shapes)) / 1e9 == pytest.approx(SIZES[name], rel=0.01)
        assert name == model_name(model.hub_id).lower()  # its folder under saves/


def test_the_weights_that_a_reason_tells_of_are_those_of_the_shapes() -> None:
    told = [recipe for recipe in ready_recipes().values() if "weights" in recipe.why]
    assert len(told) > 5
    for recipe in told:
        assert f"{2 * parameters(dict(recipe.model.shapes)) / 2**30:.1f} GiB" in recipe.why, recipe.name


def test_there_is_a_recipe_for_each_of_these_gpus() -> None:
    known = ready_recipes().values()
    assert {(recipe.gpus, recipe.gib) for recipe in known} == {(1, 24), (2, 24), (1, 48), (2, 48), (1, 80)}
    assert {bool(recipe.quantization) for recipe in known} == {True, False}
    assert {recipe.method for recipe in known} == {"sft", "dpo", "kto", "orpo", "simpo"}
    assert 15 <= len(known) <= 20
    assert all(time_on(recipe) for recipe in known)


def test_a_model_in_16_bits_leaves_a_third_of_the_gpu_free() -> None:
    for recipe in ready_recipes().values():
        share = (recipe.quantization or 16) / 16
        assert 2 * parameters(dict(recipe.model.shapes)) * share < recipe.gib * 2**30 * 2 / 3, recipe.name


def test_a_name_that_is_not_known() -> None:
    with pytest.raises(UsageError, match="did you mean qwen3-4b-base-dpo-2x48gb"):
        find_ready_recipe("qwen3-4b-base-dpo-2x48")


def test_figures_are_read_where_they_are(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = next(iter(ready_recipes().values()))
    figures = Figures(9.5, (0.5, 1.5), "RTX 4090")
    monkeypatch.setattr(recipes, "_planned", lambda: {recipe.name: figures})
    assert planned_figures(recipe) == figures
    assert [planned_figures(other) for other in ready_recipes().values()][1:] == [None] * (len(ready_recipes()) - 1)


def test_each_is_planned_and_fits() -> None:
    assert list(recipes._planned()) == list(ready_recipes())
    for recipe in ready_recipes().values():
        figures = planned_figures(recipe)
        assert figures is not None
        assert figures.gib * 2**30 < parse_gpus(time_on(recipe)).model.memory_bytes
        assert 0 < figures.hours[0] <= figures.hours[1]
        assert figures.gpu == time_on(recipe)
        assert parse_gpus(time_on(recipe)).model.memory_bytes / 2**30 == pytest.approx(recipe.gib, rel=0.01)


def test_a_larger_model_takes_longer_on_the_same_gpus() -> None:
    of_gpus: dict[tuple[int, int], list[tuple[int, tuple[float, float]]]] = {}
    for recipe in ready_recipes().values():
        if recipe.method == "dpo" and (figures := planned_figures(recipe)) is not None:
            size = parameters(dict(recipe.model.shapes))
            of_gpus.setdefault((recipe.gpus, recipe.gib), []).append((size, figures.hours))
    for found in of_gpus.values():
        found.sort()
        for (_, less), (size, more) in pairwise(found):
            assert less[0] <= more[0] * 1.05 and less[1] <= more[1] * 1.05, size
