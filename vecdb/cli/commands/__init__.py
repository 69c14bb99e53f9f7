"""The commands of `vecdb`, a module for each or for a few that belong together. See `vecdb.cli.main`."""
