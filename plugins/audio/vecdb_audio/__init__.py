"""Sound embedders: the hooks."""
