"""Encoders that run in torch: sentence-transformers and plain BERT-like ones."""
