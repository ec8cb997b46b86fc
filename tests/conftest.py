"""For all tests."""

from __future__ import annotations

import signal

# A shell that starts the tests in the background, or nohup, has them ignore Ctrl-C or a closed terminal, and every
# process they start inherits that. The tests send these signals and mean them.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGTERM, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)
