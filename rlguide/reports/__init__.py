"""A run as one HTML page: what `runs` and `evaluation` know of it, put together for a reader."""
