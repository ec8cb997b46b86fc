"""The ready recipes (`recipes.yaml`), and what the planner said of each (`recipes_planned.yaml`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from rlguide.catalog.methods import methods
from rlguide.catalog.yaml_file import read_yaml
from rlguide.errors import UsageError, did_you_mean

PLANNED = Path(__file__).with_name("recipes_planned.yaml")  # written by scripts/render_configs.py --plan
PAIRS = 10_000  # that the planned time is of
PAIR = (128, 384, 384)  # tokens of the prompt and of each response of such a pair
TIME_OF = f"{PAIRS:,} pairs of 2 x {sum(PAIR[:2])} tokens"


@dataclass(frozen=True)
class ReadyModel:
    """A model that there are recipes for; the attributes are those of the file. `name`: its folder under saves/."""

    name: str
    hub_id: str
    template: str
    shapes: Mapping[str, Any]
    is_tuned: bool = False
    note: str = ""


@dataclass(frozen=True)
class ReadyRecipe:
    """A method for a model on so many GPUs of so much memory (`gib`, of each); the attributes are those of the file."""

    model: ReadyModel
    method: str
    gpus: int
    gib: int
    why: str
    quantization: int | None = None
    from_model: bool = False
    change: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How it is called, by all that makes it."""
        bits = "-qlora" if self.quantization else ""
        return f"{self.model.name}-{self.method}{bits}-{self.gpus}x{self.gib}gb"

    @property
    def start(self) -> Literal["model", "adapter", "merged"]:
        """What is trained on: the model itself, an SFT adapter on it, or both merged into one model."""
        if self.from_model or self.model.is_tuned or methods()[self.method].from_base:
            return "model"
        return "merged" if self.quantization else "adapter"


@dataclass(frozen=True)
class Figures:
    """What the planner says of a recipe.

    Attributes:
        gib: peak memory of a GPU, with what allocator and CUDA take.
        hours: the least and the most that an epoch of `TIME_OF` takes.
        gpu: the GPU that the time is of.
    """

    gib: float
    hours: tuple[float, float]
    gpu: str


@cache
def ready_recipes() -> dict[str, ReadyRecipe]:
    """All ready recipes by name, in the order of the file."""
    document = read_yaml(Path(__file__).with_name("recipes.yaml"))
    models = {name: ReadyModel(name, **item) for name, item in document["models"].items()}
    recipes = [ReadyRecipe(**{**item, "model": models[item["model"]]}) for item in document["recipes"]]
    return {recipe.name: recipe for recipe in recipes}


def find_ready_recipe(name: str) -> ReadyRecipe:
    """The ready recipe of this name. Raises UsageError."""
    known = ready_recipes()
    if name not in known:
        raise UsageError(f"no recipe {name}{did_you_mean(name, list(known))}", "`rlguide recipes` lists them")
    return known[name]


def time_on(recipe: ReadyRecipe) -> str:
    """The GPU of that memory that the planned time is of."""
    return str(read_yaml(Path(__file__).with_name("recipes.yaml"))["gpus"][recipe.gib])


@cache
def _planned() -> dict[str, Figures]:
    if not PLANNED.exists():
        return {}
    return {
        name: Figures(float(item["gib"]), (float(item["hours"][0]), float(item["hours"][1])), str(item["gpu"]))
        for name, item in (read_yaml(PLANNED) or {}).items()
    }


def planned_figures(recipe: ReadyRecipe) -> Figures | None:
    """What the planner said of a recipe when its figures were last written; None if there are none yet."""
    return _planned().get(recipe.name)


def cells(recipe: ReadyRecipe) -> tuple[str, ...]:
    """What a table says of a recipe: name, model, method, GPUs, planned memory and time; "-" where none is planned."""
    planned, memory, time = planned_figures(recipe), "-", "-"
    if planned is not None:
        least, most = (f"{hours:.2g}" for hours in planned.hours)
        memory, time = f"{planned.gib:.1f} GiB", f"{least} to {most} h ({planned.gpu})"
    method = recipe.method + (f", {recipe.quantization} bit" if recipe.quantization else "")
    return recipe.name, recipe.model.hub_id, method, f"{recipe.gpus} x {recipe.gib} GB", memory, time
