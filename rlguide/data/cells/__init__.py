"""The rows of a file as columns and cells: what a name says, and what a cell holds; no example is made yet."""
