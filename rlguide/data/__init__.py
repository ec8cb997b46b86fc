"""Preference data, from a file of any shape to a registered dataset; `ingest` is the one door."""
