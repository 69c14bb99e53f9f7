"""See `embedder.py`."""
