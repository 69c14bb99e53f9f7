"""The bidirectional language model: LSTMs with a projection, over sentences of any length.

Peters et al. 2018, "Deep contextualized word representations"; the cell is that of TensorFlow
(Sak et al. 2014), as in the original release.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vecdb_text.elmo.arithmetic import Arithmetic
from vecdb_text.elmo.character_cnn import CharacterCnn
from vecdb_text.elmo.files import ModelOptions
from vecdb_text.elmo.hdf5_weights import WeightsFile
from vecdb_text.elmo.tokens import BEGIN, END, Word

State: TypeAlias = list[tuple[Any, Any]]
"""For each layer the output and the cell of each sentence."""

_ROWS_AT_ONCE = 512  # of a layer's input: 32 MB at the size of the original model


class _Cell(NamedTuple):
    """Weights of an LSTM. Columns are the gates: input, memory, forget, output.

    A sigmoid is a tanh at half the argument: those halves, and the 1 that TensorFlow adds at the
    forget gate, are in the weights.
    """

    of_input: Any
    of_output: Any
    bias: Any
    projection: Any


@dataclass(frozen=True, slots=True)
class _Packed:
    """Where the words of some sentences, longest first, stand when ordered by step.

    Attributes:
        starts: of each step, and the end: at step t the rows starts[t] to starts[t + 1] are those of
            the first sentences, as many as are so long.
        forward: for each such row the word, counted through all sentences.
        backward: the same from each sentence's end.
    """

    starts: list[int]
    forward: NDArray[np.int64]
    backward: NDArray[np.int64]


def _pack(lengths: Sequence[int]) -> _Packed:
    array = np.array(lengths)
    steps = np.arange(array[0])
    firsts = np.cumsum(array) - array
    active = steps[:, None] < array  # (steps, sentences)
    forward = (firsts + steps[:, None])[active]
    backward = (firsts + array - 1 - steps[:, None])[active]
    return _Packed([0, *np.cumsum(active.sum(axis=1)).tolist()], forward, backward)


class BiLM:
    """An ELMo: for each word of a sentence one vector a layer.

    Args:
        options: its sizes.
        weights: the open weights file, read here.
        arithmetic: where to compute.

    Raises:
        EmbedderUnavailableError: the weights do not fit the options.
    """

    def __init__(self, options: ModelOptions, weights: WeightsFile, arithmetic: Arithmetic) -> None:
        self._options = options
        self._arithmetic = arithmetic
        self._words = CharacterCnn(options, weights, arithmetic)
        self._cells = [[self._read_cell(weights, side, i) for i in range(options.layers)] for side in range(2)]

    def _read_cell(self, weights: WeightsFile, side: int, layer: int) -> _Cell:
        dim, cell_dim = self._options.dim, self._options.cell_dim
        name = f"RNN_{side}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
        kernel = weights.take(f"{name}/W_0", 2 * dim, 4 * cell_dim)
        bias = weights.take(f"{name}/B", 4 * cell_dim)
        projection = weights.take(f"{name}/W_P_0", cell_dim, dim)
        bias[2 * cell_dim : 3 * cell_dim] += 1
        for gate in (0, 2, 3):
            columns = slice(gate * cell_dim, (gate + 1) * cell_dim)
            kernel[:, columns] *= 0.5
            bias[columns] *= 0.5
        array = self._arithmetic.array
        return _Cell(array(kernel[:dim]), array(kernel[dim:]), array(bias), array(projection))

    def layers(
        self,
        sentences: Sequence[Sequence[Word]],
        depth: int,
        states: tuple[State, State] | None = None,
    ) -> list[Any]:
        """The vectors of all words of all sentences, one array of (words, 2 * dim) a layer.

        Args:
            sentences: words, longest sentence first. The marks of begin and end are added here, and
                their vectors taken away.
            depth: layers of LSTM to go through; layer 0 is the word's vector, twice.
            states: what the two directions begin with; changed to what they end with. By default
                each sentence begins with nothing, so that its vectors are its own. (The language
                model was trained with the state of the sentence before; vectors that depend on what
                was embedded before are of no use here.)
        """
        marked = [[BEGIN, *words, END] for words in sentences]
        lengths = [len(words) for words in marked]
        packed = _pack(lengths)
        vectors = self._words.vectors([word for words in marked for word in words])
        functions, array = self._arithmetic.functions, self._arithmetic.array
        inner = array(np.flatnonzero(np.concatenate([[False, *[True] * (n - 2), False] for n in lengths])))
        found = [functions.concatenate([vectors[inner]] * 2, 1)]
        if depth == 0:
            return found
        sides = []
        for side, order in enumerate((packed.forward, packed.backward)):
            state = self.nothing(len(sentences)) if states is None else states[side]
            # Row p of a layer's output belongs to word order[p]; `rows` says it the other way round.
            rows = array(np.argsort(order))[inner]
            outputs = self._direction(vectors[array(order)], packed.starts, self._cells[side][:depth], state)
            sides.append([output[rows] for output in outputs])
        return found + [functions.concatenate(pair, 1) for pair in zip(*sides, strict=True)]

    def nothing(self, sentences: int) -> State:
        """The state of one direction before the first word."""
        zeros, options = self._arithmetic.zeros, self._options
        return [(zeros(sentences, options.dim), zeros(sentences, options.cell_dim)) for _ in range(options.layers)]

    def _direction(self, x: Any, starts: list[int], cells: Sequence[_Cell], state: State) -> list[Any]:
        """What each layer of one direction says, in the order of the steps."""
        outputs: list[Any] = []
        for layer, cell in enumerate(cells):
            y = self._lstm(x, starts, cell, *state[layer])
            x = x + y if layer and self._options.skip_connections else y
            outputs.append(x)
        return outputs

    def _lstm(self, x: Any, starts: list[int], cell: _Cell, output: Any, memory: Any) -> Any:
        """One layer over all steps; `output` and `memory` begin it and are changed to its end."""
        functions, options = self._arithmetic.functions, self._options
        found = self._arithmetic.empty(len(x), options.dim)
        block_end = 0
        for first, last in pairwise(starts):
            if last > block_end:  # the part of the gates that is known beforehand, for many steps at once
                block_start = first
                block_end = max(end for end in starts if end <= first + max(_ROWS_AT_ONCE, last - first))
                known = x[block_start:block_end] @ cell.of_input
                known += cell.bias
            sentences = last - first
            gates = output[:sentences] @ cell.of_output
            gates += known[first - block_start : last - block_start]
            gates = functions.tanh(gates)
            enter, proposal, keep, show = (
                gates[:, i * options.cell_dim : (i + 1) * options.cell_dim] for i in range(4)
            )
            new = (enter * 0.5 + 0.5) * proposal + (keep * 0.5 + 0.5) * memory[:sentences]
            if options.cell_clip:
                new = functions.clip(new, -options.cell_clip, options.cell_clip)
            memory[:sentences] = new
            shown = ((show * 0.5 + 0.5) * functions.tanh(new)) @ cell.projection
            if options.projection_clip:
                shown = functions.clip(shown, -options.projection_clip, options.projection_clip)
            output[:sentences] = shown
            found[first:last] = shown
        return found
