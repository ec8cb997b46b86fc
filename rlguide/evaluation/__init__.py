"""Did it get better? A policy against its SFT reference; a reward model on held-out pairs."""
