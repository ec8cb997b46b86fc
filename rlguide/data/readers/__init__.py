"""A file of any kind to rows, each with its place in the file."""
