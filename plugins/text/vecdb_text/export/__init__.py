"""`vecdb embedders export`: a folder for the embedder `onnx` from a sentence-transformers model. See `command.py`."""
