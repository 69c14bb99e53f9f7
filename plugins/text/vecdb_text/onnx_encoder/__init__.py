"""The embedder `onnx`: sentence encoders through onnxruntime, without torch. See `embedder.py`."""
