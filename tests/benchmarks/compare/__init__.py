"""vecdb beside its embedded peers, on the same data in the same run: `python -m tests.benchmarks --peers`.

The parent (`run`) installs each peer into an environment of its own (`environments`), makes the data once
(`sources`), keeps one living process a peer (`client`, `worker`) and measures them in turn (`stages`, `curve`).
Each measurement is a JSON file (`store`), from which the tables and plots come (`report`, `tables`, `plots`).
"""
