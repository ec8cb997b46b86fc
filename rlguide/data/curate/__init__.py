"""Which good examples are wanted: filters, duplicates, language, the held-out split."""
