"""One way of asking a model, whether the engine keeps it loaded or it stands behind an OpenAI-compatible address."""
