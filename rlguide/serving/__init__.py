"""Use the result: chat, export, server."""
