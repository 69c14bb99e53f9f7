"""ELMo (Peters et al. 2018): see `embedder.py`."""
