"""What the reference gave is kept by example, saved, and taken back only if nothing has changed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.engine
many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TRAINED, EVALUATED = SimpleNamespace(training=True), SimpleNamespace(training=False)
ALONE = SimpleNamespace(num_processes=1, device="cpu")


def batch(torch: Any, pairs: list[tuple[list[int], list[int]]], padded: int) -> dict[str, Any]:
    """A batch of pairs, the chosen first, padded to a length; the first token is the prompt."""
    rows = [pair[0] for pair in pairs] + [pair[1] for pair in pairs]
    ids = torch.zeros(len(rows), padded, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for number, row in enumerate(rows):
        ids[number, : len(row)], mask[number, : len(row)] = torch.tensor(row), 1
        labels[number, 1 : len(row)] = torch.tensor(row[1:], dtype=torch.long)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


TOKENS = st.lists(st.integers(0, 5), min_size=2, max_size=6)


@many
@given(st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=5), st.integers(6, 12))
def test_a_key_depends_on_tokens_and_labels_alone(
    torch: Any, reference_once: Any, pairs: list[tuple[list[int], list[int]]], padded: int
) -> None:
    keys = reference_once.pairs(batch(torch, pairs, 6), TRAINED)
    assert keys == reference_once.pairs(batch(torch, pairs, padded), TRAINED)
    assert [keys.index(key) for key in keys] == [pairs.index(pair) for pair in pairs]
    other = batch(torch, pairs, 6)
    other["labels"][0, 1] = -100  # the same tokens, one of which does not count
    assert reference_once.pairs(other, TRAINED)[0] != keys[0]
    assert reference_once.pairs(batch(torch, pairs, 6), EVALUATED)[0] != keys[0]  # which adds no noise


def test_the_engine_is_asked_once(torch: Any, reference_once: Any) -> None:
    asked = []

    def engines(self: Any, model: Any, batch: Any) -> Any:
        asked.append(len(batch["input_ids"]) // 2)
        values = batch["input_ids"].sum(-1).float()
        return values.split(len(values) // 2)

    trainer = SimpleNamespace(accelerator=ALONE, lean=SimpleNamespace(reference=reference_once.Reference()))
    method = reference_once.of_pairs(engines)
    one, other = ([1, 2], [1, 3]), ([4, 2], [4, 3, 3])
    for pairs in ([one], [one], [other, one], [one, other]):
        chosen, rejected = method(trainer, TRAINED, batch(torch, pairs, 6))
        assert chosen.tolist() == [sum(pair[0]) for pair in pairs]
        assert rejected.tolist() == [sum(pair[1]) for pair in pairs]
    assert asked == [1, 2]
    reference = trainer.lean.reference
    assert (reference.computed, reference.looked_up) == (3, 3)
    method(trainer, TRAINED, {**batch(torch, [one], 6), "pixel_values": torch.zeros(1)})
    assert asked == [1, 2, 1]  # pictures are no part of a key


def test_a_reference_that_draws_random_numbers_is_asked_each_time(torch: Any, reference_once: Any) -> None:
    def engines(self: Any, model: Any, batch: Any) -> Any:
        return torch.rand(1), torch.rand(1)

    trainer = SimpleNamespace(accelerator=ALONE, lean=SimpleNamespace(reference=reference_once.Reference()))
    method = reference_once.of_pairs(engines)
    seen = {float(method(trainer, TRAINED, batch(torch, [([1, 2], [1, 3])], 6))[0]) for _ in range(3)}
    assert len(seen) == 3
    assert "random" in trainer.lean.reference.why_not


def test_kto_gets_its_values_in_their_places(torch: Any, reference_once: Any) -> None:
    def engines(self: Any, model: Any, batch: Any) -> Any:
        own, kl = (batch[f"{part}input_ids"].sum(-1).float() for part in ("", "kl_"))
        return own[batch["kto_tags"]], own[~batch["kto_tags"]], kl

    trainer = SimpleNamespace(accelerator=ALONE, lean=SimpleNamespace(reference=reference_once.Reference()))
    method = reference_once.of_responses(engines)
    rows = batch(torch, [([1, 2], [3, 4, 5])], 6)
    rows |= {f"kl_{name}": value.flip(0) for name, value in rows.items()}
    for tags in ([True, False], [False, True], [True, True]):
        given = {**rows, "kto_tags": torch.tensor(tags)}
        found = [part.tolist() for part in method(trainer, TRAINED, given)]
        assert found == [part.tolist() for part in engines(trainer, None, given)]
    assert trainer.lean.reference.looked_up == 4


@many
@given(
    st.dictionaries(
        st.binary(min_size=16, max_size=16),
        st.tuples(*[st.floats(width=32, allow_nan=False, allow_infinity=False)] * 2),
    )
)
def test_what_is_saved_is_what_comes_back(
    tmp_path_factory: pytest.TempPathFactory, reference_once: Any, values: dict[bytes, tuple[float, float]]
) -> None:
    folder = tmp_path_factory.mktemp("checkpoint")
    saved, back = reference_once.Reference(), reference_once.Reference()
    saved.values = values
    saved.save(folder, "this")
    assert back.load(folder, "this") == ("" if values else "the checkpoint has none")
    assert back.values == values
    other = reference_once.Reference()
    assert other.load(folder, "that")
    assert not other.values


def test_a_folder_that_cannot_be_written_ends_no_training(
    reference_once: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = reference_once.Reference()
    reference.values = {b"0" * 16: (1.0, 2.0)}
    reference.save(tmp_path / "gone/checkpoint-2", "this")
    assert "not saved with checkpoint-2" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["cut", "text", "nan", "folder"])
def test_a_damaged_file_is_not_taken(torch: Any, reference_once: Any, tmp_path: Path, damage: str) -> None:
    reference = reference_once.Reference()
    reference.values = {b"0" * 16: (float("nan") if damage == "nan" else 1.0, 2.0)}
    reference.save(tmp_path, "this")
    path = tmp_path / reference_once.FILE
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-3])
    elif damage == "text":
        path.write_text("not safetensors")
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    fresh = reference_once.Reference()
    assert fresh.load(tmp_path, "this")
    assert not fresh.values


def test_the_fingerprint_is_of_the_reference(torch: Any, reference_once: Any) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4).requires_grad_(False), torch.nn.Linear(4, 4))
    model.config = SimpleNamespace(to_dict=lambda: {"layers": 1, "_name_or_path": "here"})
    first = reference_once.fingerprint(model, True, {"loss": "sigmoid"})
    with torch.no_grad():
        model[1].weight += 1  # what is trained is no part of it
    model.config = SimpleNamespace(to_dict=lambda: {"layers": 1, "_name_or_path": "there"})
    assert reference_once.fingerprint(model, True, {"loss": "sigmoid"}) == first
    assert reference_once.fingerprint(model, True, {"loss": "ipo"}) != first
    assert reference_once.fingerprint(model, False, {"loss": "sigmoid"}) != first
    model.register_buffer("packed", torch.ones(4, dtype=torch.int32))
    packed = reference_once.fingerprint(model, True, {"loss": "sigmoid"})
    model.packed += 1
    assert len({first, packed, reference_once.fingerprint(model, True, {"loss": "sigmoid"})}) == 3
    del model.packed
    with torch.no_grad():
        model[0].weight[0, 0] += 1
    assert reference_once.fingerprint(model, True, {"loss": "sigmoid"}) != first


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
def test_the_fingerprint_sees_every_value(torch: Any, reference_once: Any, kind: str) -> None:
    model = torch.nn.Module()
    weight = torch.ones(300_001, dtype=getattr(torch, kind))
    model.register_buffer("weight", weight)
    model.config = SimpleNamespace(to_dict=dict)
    seen = {reference_once.fingerprint(model, False, {})}
    for place in (0, 1, 123_457, 300_000):
        weight[place] = 2
        seen.add(reference_once.fingerprint(model, False, {}))
    assert len(seen) == 5


@pytest.mark.parametrize("counts", [(2, 1), (0, 2), (0, 0)])
def test_rows_of_all_processes_are_gathered(torch: Any, reference_once: Any, counts: tuple[int, int]) -> None:
    """None have any where no process has an example of text alone."""
    rows = [torch.full((count, 3), float(number)) for number, count in enumerate(counts)]

    class Accelerator:
        def gather(self, values: Any) -> Any:
            if values.dim() == 1:
                return torch.tensor(counts)
            padded = torch.zeros_like(values)
            padded[: counts[1]] = rows[1]
            return torch.cat([values, padded])

    assert reference_once._gathered(Accelerator(), rows[0]).equal(torch.cat(rows))
