"""A model behind an OpenAI-compatible address; started by serve.py."""
