"""Do a run again from its record, and say what differs from then."""
