"""Train a run to its end: begin it or continue it, drive the engine, settle the record."""
