"""One training run: manifest, metrics, live view, report; start, watch, resume, stop."""
