"""The result of a run: its file, its table, and an HTML page with pictures."""
