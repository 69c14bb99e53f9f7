"""Vector indexes: brute force and HNSW behind one protocol."""
