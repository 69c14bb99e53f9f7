"""How fast `onnx` and `static` are: `python -m tests.quality.speed_onnx`.

Texts per CPU second, tokenising included, on one thread, beside sentence-transformers (torch, fp32) with
the same weights and batch size, and beside onnxruntime and the libraries of the tables used directly. The
sentences of STS-B; all take turns, the best of each counts, because other work on the machine slows any one.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.plugins.text.transformer_models import reference
from tests.quality import onnx, sentences, static
from tests.quality.data import stsb

_TURNS = 6
_TEXTS = 1024
_BATCH = 32

Work = Callable[[list[str]], Any]


def through_torch() -> Work:
    """SentenceTransformer.encode."""
    import torch

    torch.set_num_threads(1)
    model = reference(onnx.original())
    return lambda texts: model.encode(texts, batch_size=_BATCH, show_progress_bar=False)


def through_host(file: str) -> Work:
    """`onnx` as a database uses it."""
    return onnx.host(onnx.exported(), file=file).embed


def through_onnxruntime(file: str) -> Work:
    """The same graph with nothing around it but tokenising, sorting by length and padding."""
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(onnx.exported() / "tokenizer.json"))
    tokenizer.no_padding()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(onnx.exported() / file), options, providers=["CPUExecutionProvider"]
    )

    def work(texts: list[str]) -> None:
        encoded = sorted((tokenizer.encode(text).ids for text in texts), key=len)
        for start in range(0, len(encoded), _BATCH):
            batch = encoded[start : start + _BATCH]
            numbers = np.zeros((len(batch), len(batch[-1])), np.int64)
            mask = np.zeros_like(numbers)
            for row, found in enumerate(batch):
                numbers[row, : len(found)] = found
                mask[row, : len(found)] = 1
            inputs = {"input_ids": numbers, "attention_mask": mask, "token_type_ids": np.zeros_like(numbers)}
            session.run(["sentence_embedding"], inputs)

    return work


def through_wordllama() -> Work:
    """The library that the table comes from."""
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer
    from wordllama.inference import WordLlamaInference

    folder = static.wordllama()
    table = load_file(folder / "weights" / "l2_supercat_256.safetensors")["embedding.weight"]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    return WordLlamaInference(table, tokenizer).embed


def main() -> None:
    """Print the figures."""
    texts = list(dict.fromkeys(text for part in ("dev", "test") for pair in stsb(part) for text in pair[:2]))[:_TEXTS]
    ways = {
        "sentence-transformers, torch fp32": through_torch(),
        "the embedder sentence-transformers": sentences.host().embed,
        "onnx fp32": through_host("model.onnx"),
        "onnx int8": through_host("model_int8.onnx"),
        "onnxruntime fp32, used directly": through_onnxruntime("model.onnx"),
        "onnxruntime int8, used directly": through_onnxruntime("model_int8.onnx"),
        "static (WordLlama 256)": static.host().embed,
    }
    if importlib.util.find_spec("wordllama"):
        ways["wordllama, used directly"] = through_wordllama()
    seconds = {name: float("inf") for name in ways}
    for work in ways.values():
        work(texts[:64])
    for _ in range(_TURNS):
        for name, work in ways.items():
            start = time.process_time()
            work(texts)
            seconds[name] = min(seconds[name], time.process_time() - start)
    slowest = next(iter(seconds.values()))
    print(f"{len(texts)} sentences, batches of {_BATCH}, one thread, best of {_TURNS} turns")
    for name, found in seconds.items():
        print(f"{name:36}{len(texts) / found:8.0f} texts per CPU second {slowest / found:8.2f} x")


if __name__ == "__main__":
    main()
