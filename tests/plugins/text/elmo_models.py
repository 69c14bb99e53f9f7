"""Small ELMo models in the original format, and the same arithmetic written plainly."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np

OPTIONS: dict[str, Any] = {
    "lstm": {
        "cell_clip": 3,
        "proj_clip": 3,
        "use_skip_connections": True,
        "n_layers": 2,
        "projection_dim": 6,
        "dim": 10,
    },
    "char_cnn": {
        "embedding": {"dim": 4},
        "filters": [[1, 4], [2, 5], [4, 7]],
        "n_highway": 2,
        "n_characters": 262,
        "max_characters_per_token": 20,
        "activation": "relu",
    },
}


def options(**changes: Any) -> dict[str, Any]:
    """The options of the small model with others in place of some, wherever they stand."""
    changed = copy.deepcopy(OPTIONS)
    for part in (changed["lstm"], changed["char_cnn"]):
        part.update({name: value for name, value in changes.items() if name in part})
    return changed


def tensors(of: dict[str, Any] = OPTIONS, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights of a model with these options, by the names of the datasets."""
    random = np.random.default_rng(seed)
    cnn, lstm = of["char_cnn"], of["lstm"]
    dim, cell, filters = lstm["projection_dim"], lstm["dim"], sum(number for _, number in cnn["filters"])
    shapes: dict[str, tuple[int, ...]] = {"char_embed": (261, cnn["embedding"]["dim"])}
    for i, (width, number) in enumerate(cnn["filters"]):
        shapes[f"CNN/W_cnn_{i}"] = (1, width, cnn["embedding"]["dim"], number)
        shapes[f"CNN/b_cnn_{i}"] = (number,)
    for i in range(cnn["n_highway"]):
        for name in ("transform", "carry"):
            shapes[f"CNN_high_{i}/W_{name}"] = (filters, filters)
            shapes[f"CNN_high_{i}/b_{name}"] = (filters,)
    shapes["CNN_proj/W_proj"] = (filters, dim)
    shapes["CNN_proj/b_proj"] = (dim,)
    for side in range(2):
        for layer in range(lstm["n_layers"]):
            name = f"RNN_{side}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
            shapes |= {f"{name}/W_0": (2 * dim, 4 * cell), f"{name}/B": (4 * cell,), f"{name}/W_P_0": (cell, dim)}
    return {
        name: (random.standard_normal(shape, np.float32) * (shape[0] ** -0.5 if len(shape) == 2 else 0.5))
        for name, shape in shapes.items()
    }


def write_model(folder: Path, of: dict[str, Any] = OPTIONS, weights: dict[str, np.ndarray] | None = None) -> Path:
    """A folder with options.json and weights.hdf5."""
    import h5py

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "small_options.json").write_text(json.dumps(of))
    with h5py.File(folder / "small_weights.hdf5", "w") as file:
        for name, values in (tensors(of) if weights is None else weights).items():
            file[name] = values
    return folder


def plain_layers(of: dict[str, Any], weights: dict[str, np.ndarray], words: list[str]) -> np.ndarray:
    """One sentence, word by word as the paper has it: shape (layers + 1, words, 2 * dim)."""
    vectors = [_word_vector(of, weights, word) for word in [256, *words, 257]]
    sides = [_direction(of, weights, 0, vectors), _direction(of, weights, 1, vectors[::-1])]
    layers = [np.stack([np.concatenate([v, v]) for v in vectors])]
    for forward, backward in zip(*sides, strict=True):
        layers.append(np.concatenate([np.stack(forward), np.stack(backward[::-1])], axis=1))
    return np.stack(layers)[:, 1:-1]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _word_vector(of: dict[str, Any], weights: dict[str, np.ndarray], word: str | int) -> np.ndarray:
    cnn = of["char_cnn"]
    data = [word] if isinstance(word, int) else list(word.encode())
    ids = [258, *data, 259]
    ids += [260] * (cnn["max_characters_per_token"] - len(ids))
    characters = weights["char_embed"][ids].astype(np.float64)
    found = []
    for i, (width, _) in enumerate(cnn["filters"]):
        kernel = weights[f"CNN/W_cnn_{i}"][0]
        answers = [np.einsum("wc,wcf->f", characters[p : p + width], kernel) for p in range(len(ids) - width + 1)]
        activation = np.tanh if cnn["activation"] == "tanh" else (lambda x: np.maximum(x, 0))
        found.append(activation(np.max(answers, axis=0) + weights[f"CNN/b_cnn_{i}"]))
    x = np.concatenate(found)
    for i in range(cnn["n_highway"]):
        name = f"CNN_high_{i}"
        gate = _sigmoid(x @ weights[f"{name}/W_carry"] + weights[f"{name}/b_carry"])
        other = np.maximum(x @ weights[f"{name}/W_transform"] + weights[f"{name}/b_transform"], 0)
        x = gate * other + (1 - gate) * x
    return x @ weights["CNN_proj/W_proj"] + weights["CNN_proj/b_proj"]


def _direction(
    of: dict[str, Any], weights: dict[str, np.ndarray], side: int, inputs: list[np.ndarray]
) -> list[list[np.ndarray]]:
    lstm = of["lstm"]
    found: list[list[np.ndarray]] = []
    for layer in range(lstm["n_layers"]):
        name = f"RNN_{side}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
        output, memory, outputs = np.zeros(lstm["projection_dim"]), np.zeros(lstm["dim"]), []
        for x in inputs:
            gates = np.concatenate([x, output]) @ weights[f"{name}/W_0"] + weights[f"{name}/B"]
            enter, proposal, keep, show = np.split(gates, 4)
            memory = _sigmoid(enter) * np.tanh(proposal) + _sigmoid(keep + 1) * memory
            memory = np.clip(memory, -lstm["cell_clip"], lstm["cell_clip"]) if lstm["cell_clip"] else memory
            output = (_sigmoid(show) * np.tanh(memory)) @ weights[f"{name}/W_P_0"]
            output = np.clip(output, -lstm["proj_clip"], lstm["proj_clip"]) if lstm["proj_clip"] else output
            outputs.append(output + x if layer and lstm["use_skip_connections"] else output)
        inputs = outputs
        found.append(outputs)
    return found
