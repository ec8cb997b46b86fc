"""Import what a training imports, ask torch about the GPUs, print it as one JSON document (last line of stdout)."""

import contextlib
import json
import sys
import time


def main() -> None:
    """Print {"cuda", "count", "build", "seconds"}."""
    started = time.time()
    with contextlib.redirect_stdout(sys.stderr):
        import llamafactory.train.tuner  # noqa: F401  (the import is the check)
        import torch
    seen = {"cuda": torch.cuda.is_available(), "count": torch.cuda.device_count(), "build": torch.version.cuda}
    print(json.dumps({**seen, "seconds": round(time.time() - started, 1)}))


if __name__ == "__main__":
    main()
