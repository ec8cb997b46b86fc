"""The divergence of two models along sampled answers, against enumeration."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from tests.worker.conftest import worker_module

pytestmark = pytest.mark.engine
LENGTH = 3


def model(seed: int) -> dict[tuple[int, ...], tuple[float, float]]:
    """A hand-made model of two tokens: the probabilities of the next one after each beginning."""
    found = {}
    for length in range(LENGTH):
        for begun in itertools.product((0, 1), repeat=length):
            share = (
                0.1 + 0.8 * ((seed * 37 + sum(3**place * (token + 1) for place, token in enumerate(begun))) % 11) / 10
            )
            found[begun] = (share, 1 - share)
    return found


def table(torch: Any, of: dict[tuple[int, ...], tuple[float, float]], answer: tuple[int, ...]) -> Any:
    """Log-probabilities (T, 2) along an answer."""
    return torch.tensor([of[answer[:place]] for place in range(LENGTH)]).log()


def probability(of: dict[tuple[int, ...], tuple[float, float]], answer: tuple[int, ...]) -> float:
    return math.prod(of[answer[:place]][token] for place, token in enumerate(answer))


@pytest.mark.parametrize("seed", range(5))
def test_its_mean_over_all_answers_is_the_divergence_of_the_answers(torch: Any, seed: int) -> None:
    worker = worker_module("sample_kl")
    policy, reference = model(seed), model(seed + 1)
    answers = list(itertools.product((0, 1), repeat=LENGTH))
    exact = sum(
        probability(policy, answer) * math.log(probability(policy, answer) / probability(reference, answer))
        for answer in answers
    )
    found = {
        answer: worker.divergence(table(torch, policy, answer), table(torch, reference, answer), answer)
        for answer in answers
    }
    for name in ("kl", "log_ratio"):  # both are unbiased
        mean = sum(probability(policy, answer) * found[answer][name] for answer in answers)
        assert mean == pytest.approx(exact, rel=1e-5)
    assert all(row["kl"] >= 0 for row in found.values())
    assert min(row["log_ratio"] for row in found.values()) < 0  # which a divergence never is
    spread = {
        name: sum(probability(policy, answer) * (found[answer][name] - exact) ** 2 for answer in answers)
        for name in ("kl", "log_ratio")
    }
    assert spread["kl"] < spread["log_ratio"]


def test_a_model_does_not_diverge_from_itself(torch: Any) -> None:
    rows = torch.randn(7, 50).log_softmax(-1)
    assert worker_module("sample_kl").divergence(rows, rows.clone(), [0] * 7) == {"kl": 0.0, "log_ratio": 0.0}
