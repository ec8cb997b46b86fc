"""`rlguide runs`: one file a subcommand."""
