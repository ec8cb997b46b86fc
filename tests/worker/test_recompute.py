"""Gradient checkpointing is off where the activations fit, and on again where they did not."""

from __future__ import annotations

import builtins
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
    args = SimpleNamespace(gradient_accumulation_steps=2)
    return SimpleNamespace(model=Model(), accelerator=accelerator, args=args)


def test_it_is_off_only_where_a_step_fits(torch: Any, recompute: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(torch)
    modules = recompute.layers(trainer.model)
    assert len(modules) == 2
    # Each layer keeps its input and its output's mask: 2 rows x 1000 tokens x 64 x 4 bytes, and the indices.
    switch = recompute.Checkpointing(modules)
    kept = 2 * 1000 * 64 * 4 * 3
    weights = 16 * sum(weight.numel() for weight in trainer.model.parameters())
    need = kept * recompute.MARGIN + weights + 5 * recompute.CHUNK_BYTES
    for factor, is_off in ((1.2, True), (0.9, False)):
        total = need * factor / (1 - recompute.RESERVE)
        monkeypatch.setattr(recompute, "memory", lambda device, total=total: (total, total))
        why = recompute.why_not_off(trainer, switch, 2, 1000, contextlib.nullcontext)
        assert (not why, switch.is_off) == (is_off, is_off)
        assert all(module.gradient_checkpointing != is_off for module in modules)
    assert "GiB are free" in why
    total = need * 1.2 / (1 - recompute.RESERVE)
    monkeypatch.setattr(recompute, "memory", lambda device: (total, total))
    for logits in (need / 30, need / 20):  # held in full, they take a sixth more, or a quarter
        why = recompute.why_not_off(trainer, switch, 2, 1000, contextlib.nullcontext, logits)
        assert bool(why) == (logits > need / 25)
    trainer.accelerator.num_processes = 2  # each keeps more free, since it could not try again
    assert "GiB are free" in recompute.why_not_off(trainer, switch, 2, 1000, contextlib.nullcontext, need / 30)


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


OUT_OF_MEMORY = {
    "gpu": "OutOfMemoryError: CUDA out of memory",
    "cpu": "RuntimeError: [enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried",
    "cublas": "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "driver": "RuntimeError: CUDA error: out of memory",
    "npu": "RuntimeError: NPU out of memory. Tried to allocate 2.00 GiB",
    "python": "MemoryError: ",
    "another": "RuntimeError: The size of tensor a (2) must match the size of tensor b (3)",
}


@pytest.mark.parametrize("reason", OUT_OF_MEMORY)
def test_out_of_memory_turns_it_on_and_the_step_counts_once(torch: Any, recompute: Any, reason: str) -> None:
    trainer = make_trainer(torch)
    switch = recompute.Checkpointing(recompute.layers(trainer.model))
    switch.set(False)
    trainer.lean = SimpleNamespace(checkpointing=switch)
    trainer._stored_metrics = {"train": {"rewards/chosen": [0.5]}}
    trainer.running = SimpleNamespace(mean=0.0, count=1)
    weight = trainer.model.layers[0].inner.weight
    weight.grad = torch.ones_like(weight)  # of the micro-batch before
    kind, _, text = OUT_OF_MEMORY[reason].partition(": ")
    error = torch.OutOfMemoryError if kind == "OutOfMemoryError" else getattr(builtins, kind)
    calls, drawn = [], []

    def engines(self: Any, model: Any, inputs: dict[str, Any]) -> int:
        inputs.pop("labels")  # as the engine does for ORPO and SimPO
        calls.append(switch.is_off)
        drawn.append(float(torch.rand(1)))  # dropout
        weight.grad += 1
        for name in ("rewards/chosen", "logps/chosen"):
            self._stored_metrics["train"].setdefault(name, []).append(len(calls))
        self.running.mean += 1
        if len(calls) == 1:
            raise error(text)
        return 7

    step = recompute.again_with_checkpointing(engines)
    if reason == "another":
        with pytest.raises(RuntimeError, match="must match"):
            step(trainer, trainer.model, {"labels": 1})
        return
    assert step(trainer, trainer.model, {"labels": 1}) == 7
    assert calls == [True, False]
    assert weight.grad.eq(2).all()
    assert trainer._stored_metrics == {"train": {"rewards/chosen": [0.5, 2], "logps/chosen": [2]}}
    assert (trainer.running.mean, trainer.running.count) == (1, 1)
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    ("optim", "layerwise", "is_in_backward"),
    [("adamw_torch", False, False), ("adamw_torch", True, True), ("lomo", False, True)],
)
def test_a_step_that_changes_weights_on_its_way_is_known(
    recompute: Any, optim: str, layerwise: bool, is_in_backward: bool
) -> None:
    settings = SimpleNamespace(galore_layerwise=layerwise, apollo_layerwise=False)
    trainer = SimpleNamespace(finetuning_args=settings, args=SimpleNamespace(optim=optim))
    assert recompute.updates_in_backward(trainer) == is_in_backward


def test_the_longest_example_is_found(recompute: Any) -> None:
    import datasets

    rows = datasets.Dataset.from_dict({"chosen_input_ids": [[1, 2], [1]], "rejected_input_ids": [[1], [1, 2, 3]]})
    assert recompute.longest(rows, ("chosen_input_ids", "rejected_input_ids")) == 3
    assert recompute.longest(rows, ("input_ids",)) == 0
    assert recompute.longest(iter([]), ("input_ids",)) == 0
    for images, length in (([None, None], 3), ([None, ["cat.png"]], 0)):
        seen = rows.add_column("images", images)
        assert recompute.longest(seen, ("chosen_input_ids", "rejected_input_ids")) == length
