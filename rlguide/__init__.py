"""rlguide: from an SFT checkpoint to a preference-tuned model you can trust, on top of LLaMA-Factory."""

__version__ = "0.1.0"
