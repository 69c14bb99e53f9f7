"""Images per CPU second: through the host, beside onnxruntime on ready arrays, and decoding alone.

    OMP_NUM_THREADS=1 python -m tests.quality.speed_images [IMAGES]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.plugins.image.networks import INFO
from tests.quality.data import data
from tests.quality.images import photos
from vecdb.embedding import EmbedderHost


def seconds(work: Callable[[], Any]) -> float:
    """CPU time of all threads."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    images = photos()[0][:count]
    model = data("cnn", "resnet50_imagenet_int8w.onnx")
    config = INFO.configure({"model": model, "preprocess": "caffe", "threads": 1})
    bare = INFO.create(config)
    bare.load()
    prepared: list[Any] = []
    decoding = seconds(lambda: prepared.extend(map(bare.prepare, images)))
    arrays = [
        np.stack(prepared[start : start + INFO.batch_size]).astype(np.float32)
        for start in range(0, count, INFO.batch_size)
    ]
    session = _session(model)
    name = session.get_inputs()[0].name
    with EmbedderHost(INFO, config) as host:
        host.embed(images[:1]).check()
        session.run(["features"], {name: arrays[0]})
        rounds = [
            (
                seconds(lambda: [session.run(["features"], {name: array}) for array in arrays]),
                seconds(lambda: host.embed(images, metric="cosine").check()),
            )
            for _ in range(2)
        ]
    direct, through_host = (min(column) for column in zip(*rounds, strict=True))
    print(f"{'':34}{'images/CPU s':>14}{'ms/image':>10}")
    for what, spent in (
        ("decoding and fitting alone", decoding),
        ("onnxruntime on ready arrays", direct),
        ("EmbedderHost, from JPEG to vector", through_host),
    ):
        print(f"{what:34}{count / spent:14.1f}{1000 * spent / count:10.2f}")
    print(f"around the bare model: {through_host / direct - 1:+.1%}, of it decoding {decoding / direct:.1%}")


def _session(model: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
