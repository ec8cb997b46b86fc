"""A model behind an OpenAI-compatible address: start it, see what is served, stop it."""
