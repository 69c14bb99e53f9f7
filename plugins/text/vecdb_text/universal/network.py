"""The network of USE-lite: two transformer layers, the mean over the tokens, one tanh layer.

Cer et al. 2018, "Universal Sentence Encoder"; the layers are those of Vaswani et al. 2017, with the
normalisation before each part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vecdb_text.universal.tensors import Tensors
from vecdb_text.universal.unigram import Ids

FloatArray: TypeAlias = NDArray[np.float32]

HEADS = 4
MAX_TOKENS = 128
EPSILON = 1e-6


class _Affine(NamedTuple):
    kernel: FloatArray
    bias: FloatArray

    def __call__(self, x: FloatArray) -> FloatArray:
        y = x @ self.kernel
        y += self.bias
        return y


class _Group(NamedTuple):
    """Texts of one length, whose tokens stand together: `size` texts of `length` tokens each."""

    texts: slice
    tokens: slice
    size: int
    length: int


class _Layer(NamedTuple):
    qkv: _Affine  # of the normalised input
    residual: _Affine | None  # where input and output differ in width
    out: _Affine
    ffn1: _Affine  # of the normalised output of the attention
    ffn2: _Affine

    def attend(self, x: FloatArray, groups: Sequence[_Group]) -> FloatArray:
        """Self-attention and what it is added to."""
        qkv = self.qkv(_normalised(x))
        mixed = np.empty((len(x), qkv.shape[1] // 3), np.float32)
        for group in groups:
            heads = qkv[group.tokens].reshape(group.size, group.length, 3, HEADS, -1).transpose(2, 0, 3, 1, 4)
            weights = heads[0] @ heads[1].swapaxes(-1, -2)
            weights -= weights.max(axis=-1, keepdims=True)
            np.exp(weights, out=weights)
            weights /= weights.sum(axis=-1, keepdims=True)
            attended = (weights @ heads[2]).transpose(0, 2, 1, 3)
            mixed[group.tokens] = attended.reshape(group.size * group.length, -1)
        added = self.out(mixed)
        added += x if self.residual is None else self.residual(x)
        return added

    def hidden(self, x: FloatArray) -> FloatArray:
        """The inner layer of the feed-forward part."""
        inner = self.ffn1(_normalised(x))
        return np.maximum(inner, 0, out=inner)


class LiteNetwork:
    """Vectors of token ids.

    Args:
        tensors: weights under plain names: embeddings.weight, timing.inv_freq, layerN.{ln1,ln2}.{scale,bias},
            layerN.{qkv,out,ffn1,ffn2,residual}.{kernel,bias}, tanh.{kernel,bias}. Kernels are (inputs, outputs).

    Raises:
        EmbedderUnavailableError: a tensor is missing or has another shape than its neighbours ask for.
    """

    def __init__(self, tensors: Tensors) -> None:
        embeddings = tensors.take("embeddings.weight", None, None)
        self.vocabulary, width = embeddings.shape
        frequencies = tensors.take("timing.inv_freq", width // 2)
        angles = np.arange(MAX_TOKENS)[:, None] * frequencies.astype(np.float64)
        self._embeddings = 2 * embeddings
        self._timing = np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
        self._layers: list[_Layer] = []
        while f"layer{len(self._layers)}.qkv.kernel" in tensors or not self._layers:
            layer = _read_layer(tensors, f"layer{len(self._layers)}", width)
            width = layer.out.kernel.shape[1]
            self._layers.append(layer)
        self._tanh = _read_affine(tensors, "tanh", width, None)
        self.dimension = self._tanh.kernel.shape[1]

    def encode(self, batch: Sequence[Ids]) -> FloatArray:
        """One vector of length 1 for each text of 1 to 128 ids: (len(batch), dimension)."""
        order = sorted(range(len(batch)), key=lambda i: len(batch[i]))
        ordered = [batch[i] for i in order]
        groups = list(_groups(ordered))
        x = self._embeddings[np.concatenate(ordered)]
        x += self._timing[np.concatenate([np.arange(len(ids)) for ids in ordered])]
        for layer in self._layers[:-1]:
            x = layer.attend(x, groups)
            x += layer.ffn2(layer.hidden(x))
        last = self._layers[-1]
        x = last.attend(x, groups)
        # The mean comes before the last product, not after it: the same by linearity, for one row a text.
        means = _means(x, groups) + last.ffn2(_means(last.hidden(x), groups))
        vectors = np.tanh(self._tanh(means))
        vectors /= np.sqrt(np.maximum((vectors * vectors).sum(axis=1, keepdims=True), 1e-12))
        unordered = np.empty((len(batch), self.dimension), np.float32)
        unordered[order] = vectors
        return unordered


def _groups(ordered: Sequence[Ids]) -> Iterator[_Group]:
    text = token = 0
    lengths = [len(ids) for ids in ordered]
    while text < len(lengths):
        length = lengths[text]
        size = lengths.count(length)
        yield _Group(slice(text, text + size), slice(token, token + size * length), size, length)
        text += size
        token += size * length


def _means(x: FloatArray, groups: Sequence[_Group]) -> FloatArray:
    """The mean over the tokens of each text."""
    means = np.empty((groups[-1].texts.stop, x.shape[1]), np.float32)
    for group in groups:
        means[group.texts] = x[group.tokens].reshape(group.size, group.length, -1).mean(axis=1)
    return means


def _normalised(x: FloatArray) -> FloatArray:
    """Rows of mean 0 and variance 1 (Ba et al. 2016); scale and bias are in the kernel that follows."""
    centred: FloatArray = x - x.mean(axis=1, keepdims=True)
    variance = np.einsum("ij,ij->i", centred, centred) / x.shape[1]
    centred *= (1 / np.sqrt(variance + EPSILON))[:, None]
    return centred


def _read_layer(tensors: Tensors, name: str, width: int) -> _Layer:
    qkv = _after_normalisation(tensors, f"{name}.ln1", _read_affine(tensors, f"{name}.qkv", width, None))
    inner = qkv.kernel.shape[1] // 3
    if inner % HEADS or qkv.kernel.shape[1] != 3 * inner:
        raise tensors.unusable(f"{name}.qkv.kernel has {qkv.kernel.shape[1]} columns, not three times {HEADS} heads")
    scale = np.float32((inner // HEADS) ** -0.5)
    qkv.kernel[:, :inner] *= scale
    qkv.bias[:inner] *= scale
    out = _read_affine(tensors, f"{name}.out", inner, None)
    output = out.kernel.shape[1]
    residual = None if output == width else _read_affine(tensors, f"{name}.residual", width, output)
    ffn1 = _after_normalisation(tensors, f"{name}.ln2", _read_affine(tensors, f"{name}.ffn1", output, None))
    ffn2 = _read_affine(tensors, f"{name}.ffn2", ffn1.kernel.shape[1], output)
    return _Layer(qkv, residual, out, ffn1, ffn2)


def _read_affine(tensors: Tensors, name: str, inputs: int, outputs: int | None) -> _Affine:
    kernel = tensors.take(f"{name}.kernel", inputs, outputs)
    return _Affine(kernel, tensors.take(f"{name}.bias", kernel.shape[1]))


def _after_normalisation(tensors: Tensors, name: str, affine: _Affine) -> _Affine:
    """Scale and bias of a layer normalisation taken into what follows it."""
    width = len(affine.kernel)
    scale = tensors.take(f"{name}.scale", width)
    bias = tensors.take(f"{name}.bias", width)
    return _Affine(scale[:, None] * affine.kernel, affine.bias + bias @ affine.kernel)
