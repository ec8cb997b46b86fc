"""For all tests."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

# A machine of any speed says the same of the same code. To look for new cases: pytest --hypothesis-profile=explore
settings.register_profile("steady", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("steady")

# A shell that starts the tests in the background, or nohup, has them ignore Ctrl-C or a closed terminal, and every
# process they start inherits that. The tests send these signals and mean them.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGTERM, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

# Files that take minutes, the longest first (--durations): begun last, one would keep all others waiting at the end.
# In `scripts/check` with --no-loadscope-reorder, as pytest-xdist would begin with the files of most tests.
_LONGEST = (
    *("test_retry", "test_simulate_step", "test_demo", "test_slurm", "test_launch", "test_train", "test_export"),
    *("test_sweep_slurm", "test_sweep", "test_ray", "test_plan", "test_sft", "test_eval", "test_resume"),
    *("test_methods", "test_lean", "test_ppo", "test_benchmarks", "test_stop_on", "test_best"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest of those that start the engine."""

    def place(item: pytest.Item) -> int:
        name = item.path.stem
        is_long = name in _LONGEST and item.get_closest_marker("engine") is not None
        return _LONGEST.index(name) if is_long else len(_LONGEST)

    items.sort(key=place)
