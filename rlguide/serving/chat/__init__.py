"""Chat with a model: at a terminal with Markdown, history and commands; in a pipe a line for a line."""
