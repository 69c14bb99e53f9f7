"""A Huffman tree of words (Huffman 1952): frequent words have short codes."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from vecdb_words.vectors import IntArray


@dataclass(frozen=True, slots=True)
class HuffmanTree:
    """The way from the root to each word, all words' ways one behind the other.

    Attributes:
        nodes: inner nodes on the way, the root first; there are len(words) - 1 of them.
        turns: for each of these nodes, 0 or 1: the child that the way goes on to.
        bounds: the way of word w is nodes[bounds[w] : bounds[w + 1]].
    """

    nodes: IntArray
    turns: IntArray
    bounds: IntArray


def huffman_tree(counts: IntArray) -> HuffmanTree:
    """The tree with the shortest mean way for words that occur `counts` times; at least one word."""
    words = len(counts)
    heap = [(int(count), number) for number, count in enumerate(counts)]
    heapq.heapify(heap)
    parents = np.zeros(2 * words - 1, np.int64)
    turns = np.zeros(2 * words - 1, np.int64)
    for node in range(words, 2 * words - 1):
        left_count, left = heapq.heappop(heap)
        right_count, right = heapq.heappop(heap)
        parents[left] = parents[right] = node
        turns[right] = 1
        heapq.heappush(heap, (left_count + right_count, node))
    found_nodes: list[list[int]] = []
    found_turns: list[list[int]] = []
    root = 2 * words - 2
    for word in range(words):
        way, codes, place = [], [], word
        while place != root:
            codes.append(int(turns[place]))
            place = int(parents[place])
            way.append(root - place)
        found_nodes.append(way[::-1])
        found_turns.append(codes[::-1])
    return HuffmanTree(
        nodes=np.array([node for way in found_nodes for node in way], np.int64),
        turns=np.array([turn for codes in found_turns for turn in codes], np.int64),
        bounds=np.cumsum([0, *map(len, found_nodes)]),
    )
