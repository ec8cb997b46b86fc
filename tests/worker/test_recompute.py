"""Gradient checkpointing is off where the activations fit, and on again where they did not."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.engine


def test_a_parabola_goes_through_its_points(recompute: Any) -> None:
    def bytes_of(length: int) -> float:
        return 7 * length**2 + 100 * length + 3

    points = [(size, bytes_of(size)) for size in recompute.LENGTHS]
    for length in (8, 32, 2048, 4096):
        assert recompute.extended(points, length) == pytest.approx(bytes_of(length))


def make_trainer(torch: Any) -> Any:
    class Layer(torch.nn.Module):  # type: ignore[misc,name-defined]
        gradient_checkpointing = True

        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Linear(64, 64)

        def forward(self, hidden: Any) -> Any:
            run = (
                torch.utils.checkpoint.checkpoint
                if self.gradient_checkpointing
                else lambda inner, *args, **_: inner(*args)
            )
            return torch.relu(run(self.inner, hidden, use_reentrant=False))

    class Model(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.layers = torch.nn.Embedding(10, 64), torch.nn.ModuleList([Layer(), Layer()])

        def forward(self, input_ids: Any, attention_mask: Any, use_cache: bool) -> Any:
            hidden = self.embed(input_ids)
            for layer in self.layers:
                hidden = layer(hidden)
            return hidden

    accelerator = SimpleNamespace(device=torch.device("cpu"), autocast=contextlib.nullcontext, num_processes=1)
    return SimpleNamespace(model=Model(), accelerator=accelerator)


def test_it_is_off_only_where_a_step_fits(torch: Any, recompute: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(torch)
    modules = recompute.layers(trainer.model)
    assert len(modules) == 2
    # Each layer keeps its input and its output's mask: 2 rows x 1000 tokens x 64 x 4 bytes, and the indices.
    switch = recompute.Checkpointing(modules)
    kept = 2 * 1000 * 64 * 4 * 3
    weights = 12 * sum(weight.numel() for weight in trainer.model.parameters())
    need = kept * recompute.MARGIN + weights + 5 * recompute.CHUNK_BYTES
    for factor, is_off in ((1.2, True), (0.9, False)):
        total = need * factor / (1 - recompute.RESERVE)
        monkeypatch.setattr(recompute, "memory", lambda device, total=total: (total, total))
        why = recompute.why_not_off(trainer, switch, 2, 1000, contextlib.nullcontext)
        assert (not why, switch.is_off) == (is_off, is_off)
        assert all(module.gradient_checkpointing != is_off for module in modules)
    assert "GiB are free" in why


def test_a_model_that_cannot_be_measured_keeps_it(torch: Any, recompute: Any) -> None:
    trainer = make_trainer(torch)
    trainer.model.forward = lambda **inputs: inputs["pixel_values"]
    switch = recompute.Checkpointing(recompute.layers(trainer.model))
    assert "could not be measured: KeyError" in recompute.why_not_off(trainer, switch, 2, 8, contextlib.nullcontext)
    assert not switch.is_off


def test_a_device_whose_memory_is_not_known_keeps_it(torch: Any, recompute: Any) -> None:
    trainer = make_trainer(torch)
    trainer.accelerator.device = torch.device("meta")
    switch = recompute.Checkpointing(recompute.layers(trainer.model))
    assert "not known" in recompute.why_not_off(trainer, switch, 2, 8, contextlib.nullcontext)
    assert not switch.is_off


def test_the_free_memory_of_this_machine_is_found(torch: Any, recompute: Any) -> None:
    free, total = recompute.memory(torch.device("cpu"))
    assert 0 < free <= total


def test_out_of_memory_turns_it_on_and_the_step_counts_once(torch: Any, recompute: Any) -> None:
    trainer = make_trainer(torch)
    switch = recompute.Checkpointing(recompute.layers(trainer.model))
    switch.set(False)
    trainer.lean = SimpleNamespace(checkpointing=switch)
    weight = trainer.model.layers[0].inner.weight
    weight.grad = torch.ones_like(weight)  # of the micro-batch before
    calls = []

    def engines(self: Any, model: Any, inputs: dict[str, Any]) -> int:
        inputs.pop("labels")  # as the engine does for ORPO and SimPO
        calls.append(switch.is_off)
        weight.grad += 1
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 7

    assert recompute.again_with_checkpointing(engines)(trainer, trainer.model, {"labels": 1}) == 7
    assert calls == [True, False]
    assert weight.grad.eq(2).all()


def test_the_longest_example_is_found(recompute: Any) -> None:
    import datasets

    rows = datasets.Dataset.from_dict({"chosen_input_ids": [[1, 2], [1]], "rejected_input_ids": [[1], [1, 2, 3]]})
    assert recompute.longest(rows, ("chosen_input_ids", "rejected_input_ids")) == 3
    assert recompute.longest(rows, ("input_ids",)) == 0
    assert recompute.longest(iter([]), ("input_ids",)) == 0
    for images, length in (([None, None], 3), ([None, ["cat.png"]], 0)):
        seen = rows.add_column("images", images)
        assert recompute.longest(seen, ("chosen_input_ids", "rejected_input_ids")) == length
