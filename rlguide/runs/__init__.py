"""One training run: record, start, resume, checkpoints, metrics, diagnosis, live view, report."""
