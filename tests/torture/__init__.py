"""Campaigns against the promises of RELIABILITY.md: `python -m tests.torture`."""
