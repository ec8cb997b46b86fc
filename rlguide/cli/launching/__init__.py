"""Commands that start trainings elsewhere, or many of them."""
