"""Measurements, run by `python -m tests.benchmarks`; never part of the tests, which are not timed."""
