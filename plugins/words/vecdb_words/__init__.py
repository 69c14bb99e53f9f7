"""Word-vector embedders: the hooks."""
