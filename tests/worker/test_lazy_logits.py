"""Lazy logits against full ones: the same numbers and gradients, whatever is asked of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.engine
HIDDEN, VOCABULARY = 24, 97
many = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Model:
    """A layer and a head, as a causal language model has them."""

    def __init__(self, torch: Any, seed: int, bias: bool = False) -> None:
        torch.manual_seed(seed)
        self.layer = torch.nn.Linear(HIDDEN, HIDDEN)
        self.head = torch.nn.Linear(HIDDEN, VOCABULARY, bias=bias).requires_grad_(False)

    def get_output_embeddings(self) -> Any:
        return self.head

    def __call__(self, inputs: Any) -> Any:
        return self.head(self.layer(inputs))


def logps(torch: Any, logits: Any, labels: Any) -> Any:
    """As LLaMA-Factory's get_batch_logps asks for them."""
    labels, logits = labels[:, 1:].clone(), logits[:, :-1, :]
    counts = labels != -100
    labels[~counts] = 0
    picked = torch.gather(logits.log_softmax(-1), dim=2, index=labels.unsqueeze(2)).squeeze(2)
    return (picked * counts).sum(-1)


@many
@given(
    rows=st.integers(1, 4),
    length=st.integers(2, 40),
    prompt=st.integers(0, 40),
    chunk=st.sampled_from([1, 32 * 4 * VOCABULARY, 2**27]),
    seed=st.integers(0, 2**16),
    is_known=st.booleans(),
)
def test_log_probabilities_and_gradients_are_those_of_full_logits(
    torch: Any, lazy_logits: Any, rows: int, length: int, prompt: int, chunk: int, seed: int, is_known: bool
) -> None:
    lazy_logits.CHUNK_BYTES = chunk
    lazy_logits.asked_in_full.clear()
    model = Model(torch, seed)
    inputs, labels = torch.randn(rows, length, HIDDEN), torch.randint(0, VOCABULARY, (rows, length))
    labels[:, :prompt] = -100
    found = []
    for is_lazy in (False, True):
        model.layer.zero_grad()
        if is_lazy:
            with lazy_logits.lazy_head(model, labels if is_known else None):
                logits = model(inputs)
            assert isinstance(logits, lazy_logits.Logits)
        else:
            logits = model(inputs)
        values = logps(torch, logits.to(torch.float32), labels)
        (values * torch.arange(1, rows + 1)).sum().backward()
        found.append((values.detach(), model.layer.weight.grad.clone()))
    (values, gradient), (lazy_values, lazy_gradient) = found
    torch.testing.assert_close(lazy_values, values, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(lazy_gradient, gradient, rtol=1e-4, atol=1e-4)
    assert not lazy_logits.asked_in_full
    assert not isinstance(model(inputs), lazy_logits.Logits)  # the head is its own again


OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "mean": lambda torch, logits: logits.mean(),
    "nansum of a mask": lambda torch, logits: logits[torch.tensor([True, False, True])].nansum(),
    "nansum of nothing": lambda torch, logits: logits[torch.tensor([False, False, False])].nansum(),
    "sum of a softcap": lambda torch, logits: (torch.tanh(logits / 30.0) * 30.0).sum(),
    "halves": lambda torch, logits: logits.split(1, dim=0)[1].mean(),
    "argmax": lambda torch, logits: logits.argmax(-1),
    "cross entropy": lambda torch, logits: torch.nn.functional.cross_entropy(
        logits.float().view(-1, VOCABULARY), torch.arange(30) - 1, ignore_index=-1, reduction="sum"
    ),
    "cross entropy of each": lambda torch, logits: torch.nn.functional.cross_entropy(
        logits.view(-1, VOCABULARY), torch.arange(30), reduction="none"
    ),
    "softcapped": lambda torch, logits: torch.gather(
        (torch.tanh(logits / 2.0) * 2.0).log_softmax(-1), 2, torch.arange(30).reshape(3, 10, 1)
    ),
    "scaled": lambda torch, logits: (logits.detach().clone().contiguous() * 0.5)[..., 1:, :].mean(),
}
IN_FULL: dict[str, Callable[[Any, Any], Any]] = {
    "softmax": lambda torch, logits: logits.softmax(-1),
    "by a tensor": lambda torch, logits: logits * torch.ones(VOCABULARY),
    "some tokens of the vocabulary": lambda torch, logits: logits[:, :, :5],
    "one row": lambda torch, logits: logits[0],
    "over tokens": lambda torch, logits: logits.log_softmax(1),
    "two tokens each": lambda torch, logits: torch.gather(logits, 2, torch.zeros(3, 10, 2, dtype=torch.long)),
    "weights of classes": lambda torch, logits: torch.nn.functional.cross_entropy(
        logits.view(-1, VOCABULARY), torch.arange(30), weight=torch.rand(VOCABULARY)
    ),
    "stacked": lambda torch, logits: torch.cat([logits, logits]),
    "sum of each": lambda torch, logits: logits.sum(-1),
    "mean of each token": lambda torch, logits: logits.mean(dim=-1),
    "argmax kept": lambda torch, logits: logits.argmax(-1, keepdim=True),
    "another type": lambda torch, logits: torch.log_softmax(logits, -1, torch.float64),
    "copied": lambda torch, logits: logits.clone(memory_format=torch.contiguous_format),
    "data": lambda torch, logits: logits.data,
    "written into": lambda torch, logits: masked(torch, logits),
    "multiplied in place": lambda torch, logits: logits.mul_(2.0),
    "mean of each": lambda torch, logits: logits.view(30, VOCABULARY).max(-1).values,
}


def masked(torch: Any, logits: Any) -> Any:
    """As a model does that may not write some tokens."""
    logits[:, :, 3] = -1e4
    logits.masked_fill_(torch.arange(VOCABULARY) == 5, -9.0)
    return logits.log_softmax(-1)[:, :, :9]


def both(torch: Any, lazy_logits: Any, operation: Callable[[Any, Any], Any]) -> tuple[Any, Any]:
    lazy_logits.CHUNK_BYTES = 1
    lazy_logits.asked_in_full.clear()
    model, inputs = Model(torch, 0, bias=True), torch.randn(3, 10, HIDDEN)
    torch.manual_seed(1)
    plain = operation(torch, model(inputs))
    with lazy_logits.lazy_head(model):
        logits = model(inputs)
    torch.manual_seed(1)
    return plain, operation(torch, logits)


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_a_loss_or_a_metric_asks_is_answered_in_chunks(torch: Any, lazy_logits: Any, name: str) -> None:
    plain, lazy = both(torch, lazy_logits, OPERATIONS[name])
    torch.testing.assert_close(lazy, plain, rtol=1e-4, atol=1e-4)
    assert not lazy_logits.asked_in_full


@pytest.mark.parametrize("name", IN_FULL)
def test_whatever_else_is_asked_gets_full_logits(torch: Any, lazy_logits: Any, name: str) -> None:
    plain, lazy = both(torch, lazy_logits, IN_FULL[name])
    torch.testing.assert_close(lazy, plain)
    assert lazy_logits.asked_in_full


def test_attributes_are_those_of_full_logits(torch: Any, lazy_logits: Any) -> None:
    model, inputs = Model(torch, 0), torch.randn(3, 10, HIDDEN)
    plain = model(inputs)
    with lazy_logits.lazy_head(model):
        lazy = model(inputs)
    for name in ("shape", "dtype", "device", "requires_grad", "nbytes", "ndim"):
        assert getattr(lazy, name) == getattr(plain, name)
    assert (lazy.size(-1), lazy.size(), lazy.dim()) == (plain.size(-1), plain.size(), plain.dim())


def test_no_tensor_of_all_tokens_and_the_vocabulary_exists(torch: Any, lazy_logits: Any) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    lazy_logits.CHUNK_BYTES = 64 * 4 * VOCABULARY
    model, inputs, labels = Model(torch, 0), torch.randn(4, 300, HIDDEN), torch.zeros(4, 300, dtype=torch.long)
    largest = 0

    class Largest(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.untyped_storage().nbytes())
            return out

    with Largest():
        with lazy_logits.lazy_head(model, labels):
            logits = model(inputs)
        logps(torch, logits.to(torch.float32), labels).sum().backward()
        logits.mean()
    assert largest <= max(64 * 4 * VOCABULARY, 4 * 300 * HIDDEN * 4)
