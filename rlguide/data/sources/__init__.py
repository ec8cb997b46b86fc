"""Which dataset and which of its files are meant."""
