"""Tests of the tables plugin."""
