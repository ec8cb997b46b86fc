"""The commands that start trainings on other hosts, or many of them."""
