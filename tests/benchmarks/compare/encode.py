"""Sentences to vectors, in the environment that has onnxruntime: `python encode.py MODEL TEXTS OUTPUT THREADS`.

MODEL is a folder with `tokenizer.json` and `onnx/model.onnx` (a BERT encoder), TEXTS a JSON list of strings.
Batches are sorted by length, so that little of the work is padding; each is done once and may be interrupted.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

BATCH = 32
LONGEST = 256


def main(model: Path, texts: Path, output: Path, threads: int) -> None:
    """Write a float32 array with one row of length 1 for each text."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.enable_truncation(LONGEST)
    tokenizer.no_padding()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(model / "onnx" / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    tokens = [encoding.ids for encoding in tokenizer.encode_batch(json.loads(texts.read_text("utf-8")))]
    order = np.argsort([len(ids) for ids in tokens], kind="stable")
    partial = output.with_suffix(".partial.npy")
    progress = output.with_suffix(".progress")
    done = int(progress.read_text("ascii")) if progress.exists() and partial.exists() else 0
    mode = "r+" if done else "w+"
    made = np.lib.format.open_memmap(partial, mode=mode, dtype=np.float32, shape=(len(tokens), 384))
    for start in range(done, len(order), BATCH):
        rows = order[start : start + BATCH]
        longest = max(len(tokens[row]) for row in rows)
        ids, mask = np.zeros((len(rows), longest), np.int64), np.zeros((len(rows), longest), np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(tokens[row])] = tokens[row]
            mask[place, : len(tokens[row])] = 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = session.run(None, inputs)[0]
        weights = mask[:, :, None].astype(np.float32)
        mean = (hidden * weights).sum(1) / weights.sum(1)
        made[rows] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        if start // BATCH % 100 == 0:
            made.flush()
            progress.write_text(str(start), "ascii")
            print(f"encoded {start:,} of {len(order):,}", file=sys.stderr, flush=True)
    made.flush()
    partial.rename(output)
    progress.unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
