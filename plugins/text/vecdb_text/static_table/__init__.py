"""The embedder `static`: the mean of a table's rows. See `embedder.py`."""
