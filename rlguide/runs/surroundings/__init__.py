"""What a run is made with and on, beside its config: the part of its record that is needed to do it again."""
