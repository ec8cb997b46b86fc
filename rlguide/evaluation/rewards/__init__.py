"""A reward on every row of a file: `rlguide score`."""
