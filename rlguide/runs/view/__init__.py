"""A run as it is seen in a terminal: one state, fed by its events, and one view of it for `train` and `watch`."""
