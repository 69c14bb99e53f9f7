"""What the pipeline around the model costs: `python -m tests.quality.speed_sentences`.

Texts per CPU second of the host of `sentence-transformers`, beside `SentenceTransformer.encode` used
directly with the same batch size: the sentences of STS-B, one thread, in turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.plugins.text.transformer_models import reference
from tests.quality.data import stsb
from tests.quality.sentences import host, minilm

_TURNS = 3


def seconds(work: Callable[[], Any]) -> float:
    """CPU time of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Print the figures."""
    import torch

    torch.set_num_threads(1)
    texts = list(dict.fromkeys(text for left, right, _ in stsb() for text in (left, right)))
    theirs = reference(minilm())
    with host() as ours:
        ours.embed(texts[:64]).check()
        theirs.encode(texts[:64], show_progress_bar=False)
        size = ours.info.batch_size
        through_host = min(seconds(lambda: ours.embed(texts).check()) for _ in range(_TURNS))
        direct = min(
            seconds(lambda: theirs.encode(texts, batch_size=size, show_progress_bar=False)) for _ in range(_TURNS)
        )
    print(f"{len(texts)} sentences, batches of {size}, one thread, best of {_TURNS}")
    print(f"SentenceTransformer.encode  {len(texts) / direct:7.0f} texts per CPU second")
    print(f"through the host            {len(texts) / through_host:7.0f} texts per CPU second")
    print(f"the host costs {100 * (through_host / direct - 1):+.1f} %")


if __name__ == "__main__":
    main()
