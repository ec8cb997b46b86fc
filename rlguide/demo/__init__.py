"""`rlguide demo`: the whole journey on bundled data and a model it makes itself."""
