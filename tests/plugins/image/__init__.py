"""Tests of the image plugin."""
