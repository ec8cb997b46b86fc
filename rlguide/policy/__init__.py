"""A policy = base model + ordered adapters; SFT checkpoints; which model is the reference."""
