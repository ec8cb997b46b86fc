"""Several responses at once on one model: fair turns, and random numbers that do not mix."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.worker.conftest import worker_module


def test_turns_go_round() -> None:
    turns = worker_module("openai_api.turns").Turns()
    order: list[int] = []
    turns.take()  # so that all are there before the first begins
    threads = []

    def work(number: int) -> None:
        turns.take()
        for _ in range(50):
            order.append(number)
            turns.pass_on()
        turns.give()

    for number in range(4):
        threads.append(threading.Thread(target=work, args=(number,)))
        threads[-1].start()
        while len(turns._waiting) <= number:
            pass
    turns.give()
    for thread in threads:
        thread.join(20)
    assert order == list(range(4)) * 50


@pytest.mark.engine
def test_a_seed_has_its_own_numbers(torch: Any) -> None:
    dice = worker_module("openai_api.turns").Dice
    device = torch.device("cpu")
    torch.manual_seed(5)
    alone = torch.rand(4).tolist()
    torch.manual_seed(1)
    others = torch.rand(4).tolist()
    torch.manual_seed(1)
    mine, mixed = dice(5, device), []
    seen = []
    for _ in range(4):
        with torch.inference_mode():
            mine.begin()
            seen.append(torch.rand(1).item())
            mine.end()
        mixed.append(torch.rand(1).item())
    assert seen == alone and mixed == others
