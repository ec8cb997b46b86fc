"""For all tests."""

from __future__ import annotations

import signal

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
