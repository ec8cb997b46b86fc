"""The commands that use a model: chat, compare, score, serve, export."""
