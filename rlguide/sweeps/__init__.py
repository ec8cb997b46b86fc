"""Many trainings of one recipe with other settings, and which of them is best on held-out data."""
