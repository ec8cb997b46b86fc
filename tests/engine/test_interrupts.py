"""Interrupts that come while a process is being started."""

from __future__ import annotations

import signal
import threading

import pytest

from rlguide.engine.interrupts import interrupts_held


def test_an_interrupt_comes_out_at_the_end_of_the_block() -> None:
    done = []
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interrupts_held():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append("after")
    assert done == ["after"]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_without_an_interrupt_nothing_is_raised() -> None:
    with interrupts_held():
        pass


def test_another_thread_is_left_alone() -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with interrupts_held():
                pass
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failures == []
