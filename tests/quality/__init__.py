"""How good the embedders are, on real weights and labelled data: `python -m tests.quality`."""
