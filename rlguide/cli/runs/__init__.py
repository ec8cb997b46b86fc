"""Commands on runs: `stop`, `watch`, `report`, and `runs` with a file for each of its subcommands."""
