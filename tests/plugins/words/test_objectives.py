"""The arithmetic of training, against finite differences and plain loops."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from tests.plugins.words.corpora import topic_texts
from vecdb_words.cooccurrence import count_pairs
from vecdb_words.corpus import Corpus, read_corpus
from vecdb_words.glove import GloveModel, cost_and_gradients, count_neighbours, train_glove
from vecdb_words.huffman import huffman_tree
from vecdb_words.losses import HierarchicalSoftmax, NegativeSampling, Questions, gradients
from vecdb_words.mutual_information import mutual_information_vectors
from vecdb_words.prediction import cbow, skipgram
from vecdb_words.sparse import SparseRows, sums_by_row
from vecdb_words.subword_table import SubwordTable
from vecdb_words.training_config import GloveTraining
from vecdb_words.windows import Block, blocks, pairs

CORPUS = read_corpus(topic_texts(40), 1)
DIMENSION = 4


def slopes(value: Callable[[np.ndarray], float], place: np.ndarray, step: float = 1e-4) -> np.ndarray:
    """The gradient by finite differences, both ways."""
    found = np.zeros_like(place)
    for cell in np.ndindex(place.shape):
        moved = place.copy()
        moved[cell] += step
        above = value(moved)
        moved[cell] -= 2 * step
        found[cell] = (above - value(moved)) / (2 * step)
    return found


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def block(seed: int = 0, size: int = 30) -> Block:
    return next(iter(blocks(CORPUS, size, 3, 1.0, np.random.default_rng(seed))))


class Drawn(NegativeSampling):
    """Negative sampling that tells what it drew."""

    def __init__(self, corpus: Corpus, negative: int) -> None:
        super().__init__(corpus, negative)
        self._noise = np.array([0.5, 1.0, *[1.0] * (len(corpus.words) - 2)])  # only the words 0 and 1 are drawn


def likelihood_of_negative_sampling(
    hidden: np.ndarray, outputs: np.ndarray, words: np.ndarray, counts: np.ndarray, weights: dict[int, float]
) -> float:
    """Mikolov et al. 2013, equation 4, pair by pair; `weights`: expected draws of each word for one prediction."""
    total = 0.0
    for i, vector in enumerate(hidden):
        for j, word in enumerate(words):
            if counts[i, j]:
                total += counts[i, j] * math.log(sigmoid(vector @ outputs[word]))
                for drawn, weight in weights.items():
                    if drawn != word:
                        total += counts[i, j] * weight * math.log(sigmoid(-(vector @ outputs[drawn])))
    return total


def likelihood_of_hierarchical_softmax(
    hidden: np.ndarray, outputs: np.ndarray, words: np.ndarray, counts: np.ndarray
) -> float:
    """Mikolov et al. 2013, equation 3: the product of the turns on the way to each word."""
    tree = huffman_tree(CORPUS.counts)
    total = 0.0
    for i, vector in enumerate(hidden):
        for j, word in enumerate(words):
            for place in range(tree.bounds[word], tree.bounds[word + 1]):
                sign = 1 if tree.turns[place] == 0 else -1
                total += counts[i, j] * math.log(sigmoid(sign * (vector @ outputs[tree.nodes[place]])))
    return total


@pytest.mark.parametrize("make", [skipgram, cbow])
@pytest.mark.parametrize("name", ["negative_sampling", "hierarchical_softmax"])
def test_gradients_are_those_of_the_likelihood(make: Callable[..., tuple], name: str) -> None:
    """By the vectors of words (through the means of CBOW) and by the rows of the output matrix."""
    random = np.random.default_rng(3)
    some = block()
    mixture, counts = make(some)
    vectors = random.standard_normal((len(some.words), DIMENSION))
    outputs = random.standard_normal((len(CORPUS.words), DIMENSION))
    mix = np.eye(len(some.words)) if mixture is None else mixture.astype(float)
    if name == "negative_sampling":
        loss = Drawn(CORPUS, 3)
        draws = np.searchsorted([0.5, 1.0], np.random.default_rng(9).random(100))
        weights = {word: 3 * float((draws == word).mean()) for word in (0, 1)}

        def likelihood(vectors: np.ndarray, outputs: np.ndarray) -> float:
            return likelihood_of_negative_sampling(mix @ vectors, outputs, some.words, counts.astype(float), weights)
    else:
        loss = HierarchicalSoftmax(CORPUS)

        def likelihood(vectors: np.ndarray, outputs: np.ndarray) -> float:
            return likelihood_of_hierarchical_softmax(mix @ vectors, outputs, some.words, counts.astype(float))

    questions = loss.questions(some.words, counts, np.random.default_rng(9))
    hidden = (mix @ vectors).astype(np.float32)
    to_hidden, to_outputs = gradients(hidden, outputs[questions.rows].astype(np.float32), questions)
    by_vectors = slopes(lambda moved: likelihood(moved, outputs), vectors)
    np.testing.assert_allclose(mix.T @ to_hidden, by_vectors, rtol=1e-3, atol=1e-3)
    by_outputs = slopes(lambda moved: likelihood(vectors, moved), outputs)
    found = np.zeros_like(outputs)
    found[questions.rows] = to_outputs
    np.testing.assert_allclose(found, by_outputs, rtol=1e-3, atol=1e-3)


def test_a_draw_that_is_the_right_word_is_passed_over() -> None:
    counts = np.array([[2.0, 0.0], [0.0, 1.0]], np.float32)
    found = Drawn(CORPUS, 3).questions(np.array([1, 5]), counts, np.random.default_rng(0))
    assert list(found.rows) == [0, 1, 5]
    zero, one = (float(found.asked[1, column]) for column in (0, 1))
    assert zero + one == pytest.approx(3)
    np.testing.assert_allclose(found.right, [[0, 2, 0], [0, 0, 1]])
    np.testing.assert_allclose(found.asked, [[2 * zero, 2, 0], [zero, one, 1]], rtol=1e-6)


def test_noise_follows_the_counts() -> None:
    """Mikolov et al.: drawn by the frequency to the power of 3/4."""
    loss = NegativeSampling(CORPUS, 1)
    random = np.random.default_rng(0)
    seen = np.zeros(len(CORPUS.words))
    right = np.zeros((1, 1), np.float32)
    right[0, 0] = 1
    for _ in range(300):
        found = loss.questions(np.array([0]), right, random)
        seen[found.rows] += found.asked[0]
    expected = CORPUS.counts**0.75 / (CORPUS.counts**0.75).sum()
    np.testing.assert_allclose(seen[1:] / 300, expected[1:], atol=0.01)


def test_the_huffman_tree_is_the_best_one() -> None:
    """Its mean length is that of Huffman's merging (each merge adds its weight), no code begins another."""
    counts = np.random.default_rng(1).integers(1, 1000, 60)
    tree = huffman_tree(counts)
    codes = ["".join(map(str, tree.turns[start:end])) for start, end in pairwise(tree.bounds)]
    heap = counts.tolist()
    heapq.heapify(heap)
    best = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        best += merged
        heapq.heappush(heap, merged)
    assert sum(count * len(code) for count, code in zip(counts, codes, strict=True)) == best
    ordered = sorted(codes)
    assert not any(after.startswith(before) for before, after in pairwise(ordered))
    assert sum(2.0 ** -len(code) for code in codes) == 1
    assert (tree.nodes[tree.bounds[:-1]] == 0).all()  # every way begins at the root
    shared = {tuple(tree.nodes[s : s + 2]) for s, e in pairwise(tree.bounds) if e - s > 1}
    assert len(shared) <= 2
    assert set(tree.nodes) == set(range(59))


def test_hierarchical_probabilities_add_up_to_one() -> None:
    """Over all words the ways down the tree share out a probability of 1."""
    random = np.random.default_rng(2)
    hidden = random.standard_normal((1, DIMENSION)).astype(np.float32)
    outputs = random.standard_normal((len(CORPUS.words) - 1, DIMENSION)).astype(np.float32)
    loss = HierarchicalSoftmax(CORPUS)
    total = 0.0
    for word in range(len(CORPUS.words)):
        found = loss.questions(np.array([word]), np.ones((1, 1), np.float32), random)
        yes = 1 / (1 + np.exp(-(hidden @ outputs[found.rows].T)))
        assert (found.asked == 1).all()
        total += float(np.prod(np.where(found.right == 1, yes, 1 - yes)))
    assert total == pytest.approx(1, abs=1e-5)


def test_pairs_of_a_block() -> None:
    """Each token takes the neighbours within its own reach, and never those of another text."""
    documents = np.array([0, 0, 0, 0, 1, 1, 1, 1], np.int32)
    found = set(zip(*map(np.ndarray.tolist, pairs(documents, 3, np.random.default_rng(2))), strict=True))
    reach = np.random.default_rng(2).integers(1, 4, 8)
    assert found == {
        (centre, other)
        for centre in range(8)
        for other in range(8)
        if other != centre and abs(other - centre) <= reach[centre] and documents[other] == documents[centre]
    }


def test_what_skipgram_and_cbow_predict() -> None:
    some = Block(
        words=np.array([3, 8]),
        numbers=np.array([0, 1, 1, 0]),
        centres=np.array([0, 1, 1, 2]),
        neighbours=np.array([1, 0, 2, 1]),
        tokens=4,
    )
    _, counts = skipgram(some)
    np.testing.assert_array_equal(counts, [[0, 1], [1, 2]])
    mixture, predicted = cbow(some)
    np.testing.assert_array_equal(mixture, [[0, 1], [0.5, 0.5], [0, 1], [0, 0]])
    np.testing.assert_array_equal(predicted, [[1, 0], [0, 1], [0, 1], [0, 0]])  # the last has no neighbours


def test_frequent_words_are_passed_over() -> None:
    """A word of frequency f is kept with the probability sqrt(s / f) + s / f."""
    kept = np.zeros(len(CORPUS.words))
    for seed in range(60):
        for some in blocks(CORPUS, 100, 2, 0.02, np.random.default_rng(seed)):
            kept += np.bincount(some.words[some.numbers], minlength=len(kept))
    frequencies = CORPUS.counts / CORPUS.counts.sum()
    expected = np.minimum(1, np.sqrt(0.02 / frequencies) + 0.02 / frequencies)
    np.testing.assert_allclose(kept / 60 / CORPUS.counts, expected, atol=0.05)
    assert sum(some.tokens for some in blocks(CORPUS, 100, 2, 0.02, np.random.default_rng(0))) == len(CORPUS.tokens)


# --- counts, mutual information, GloVe ----------------------------------------------------------------


def counted(by_distance: np.ndarray) -> np.ndarray:
    """Counts of unordered pairs by plain loops, upper triangle."""
    found = np.zeros((len(CORPUS.words),) * 2)
    for one in range(len(CORPUS.tokens)):
        for other in range(one + 1, min(one + 1 + len(by_distance), len(CORPUS.tokens))):
            if CORPUS.documents[one] == CORPUS.documents[other]:
                cell = sorted((CORPUS.tokens[one], CORPUS.tokens[other]))
                found[tuple(cell)] += by_distance[other - one - 1]
    return found


@pytest.mark.parametrize("block_tokens", [7, 64, 1 << 19])
def test_counts_of_pairs(monkeypatch: pytest.MonkeyPatch, block_tokens: int) -> None:
    """Also where the text is counted in blocks: pairs across their borders are not lost."""
    monkeypatch.setattr("vecdb_words.cooccurrence._BLOCK_TOKENS", block_tokens)
    by_distance = 1 / np.arange(1, 5)
    found = count_pairs(CORPUS, by_distance)
    dense = np.zeros((len(CORPUS.words),) * 2)
    dense[found.first, found.second] = found.weights
    np.testing.assert_allclose(dense, counted(by_distance))
    assert len({*zip(found.first.tolist(), found.second.tolist(), strict=True)}) == len(found.first)


def test_initial_vectors_multiply_to_the_mutual_information() -> None:
    """With as many dimensions as words the factors give back the positive mutual information itself."""
    count = len(CORPUS.words)
    inputs, outputs = mutual_information_vectors(CORPUS, count, 3, np.random.default_rng(0))
    upper = counted(np.array([3, 2, 1]) / 3)
    joint = upper + upper.T
    smoothed = joint.sum(1) ** 0.875
    smoothed /= smoothed.sum()
    with np.errstate(divide="ignore"):
        information = np.maximum(np.log(joint / joint.sum() / np.outer(smoothed, smoothed)), 0)
    np.testing.assert_allclose(inputs @ outputs.T, information, atol=1e-4)


def test_the_gradient_of_the_glove_cost() -> None:
    """Pennington et al. 2014, equation 8, by finite differences in both vectors and both biases."""
    random = np.random.default_rng(5)
    words, contexts = random.standard_normal((2, 3, DIMENSION + 2))
    words[:, -1] = 1
    contexts[:, -2] = 1
    counts = np.array([0.5, 3.0, 40.0])
    weights = np.minimum(1, (counts / 10) ** 0.75)

    def cost(words: np.ndarray, contexts: np.ndarray) -> float:
        total = 0.0
        for w, c, x, f in zip(words, contexts, counts, weights, strict=True):
            total += f * (w[:-2] @ c[:-2] + w[-2] + c[-1] - math.log(x)) ** 2 / 2
        return total

    costs, to_words, to_contexts = cost_and_gradients(words, contexts, np.log(counts), weights)
    assert costs.sum() == pytest.approx(cost(words, contexts))
    free = [*range(DIMENSION), DIMENSION]  # the vector and the bias; the other column stays 1
    np.testing.assert_allclose(to_words[:, free], slopes(lambda m: cost(m, contexts), words)[:, free], rtol=1e-5)
    free = [*range(DIMENSION), DIMENSION + 1]
    np.testing.assert_allclose(to_contexts[:, free], slopes(lambda m: cost(words, m), contexts)[:, free], rtol=1e-5)


def test_glove_takes_the_steps_of_adagrad(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one count a step: each number moves by rate * gradient / sqrt(sum of (rate * gradient)^2 so far, from 1)."""
    monkeypatch.setattr("vecdb_words.glove._BATCH", 1)
    counts = count_neighbours(CORPUS, 3)
    keep = counts.first != counts.second
    counts = type(counts)(counts.first[keep][:1], counts.second[keep][:1], counts.weights[keep][:1])
    model = GloveModel.random(len(CORPUS.words), DIMENSION, np.random.default_rng(0))
    words, contexts = model.words.astype(float), model.contexts.astype(float)
    squares = [np.ones_like(words), np.ones_like(contexts)]
    options = GloveTraining(epochs=3, dimension=DIMENSION, learning_rate=0.5)
    train_glove(counts, model, options, np.random.default_rng(0), lambda part: None)
    i, j, x = int(counts.first[0]), int(counts.second[0]), float(counts.weights[0])
    for _ in range(3):
        steps = []
        for a, b in ((i, j), (j, i)):
            slope = min(1, (x / 10) ** 0.75) * (words[a] @ contexts[b] - math.log(x))
            by_word, by_context = slope * contexts[b], slope * words[a]
            by_word[-1] = by_context[-2] = 0
            steps.append((a, b, 0.5 * by_word, 0.5 * by_context))
        for a, b, by_word, by_context in steps:
            squares[0][a] += by_word**2
            squares[1][b] += by_context**2
            words[a] -= by_word / np.sqrt(squares[0][a])
            contexts[b] -= by_context / np.sqrt(squares[1][b])
    np.testing.assert_allclose(model.words, words, atol=1e-5)
    np.testing.assert_allclose(model.contexts, contexts, atol=1e-5)


def test_the_glove_cost_falls_to_the_counts() -> None:
    """With as many dimensions as words the logarithms of the counts can be met, and they are."""
    counts = count_neighbours(CORPUS, 3)
    model = GloveModel.random(len(CORPUS.words), len(CORPUS.words), np.random.default_rng(0))
    parts: list[float] = []
    options = GloveTraining(epochs=300, learning_rate=0.2)
    costs = train_glove(counts, model, options, np.random.default_rng(1), parts.append)
    assert costs[0] > 20 * costs[-1]
    assert sum(parts) == pytest.approx(300)
    met = (model.words @ model.contexts.T)[counts.first, counts.second]
    assert np.abs(met - np.log(counts.weights)).mean() < 0.2


# --- sparse sums and subwords -----------------------------------------------------------------------


def test_sparse_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vecdb_words.sparse._BLOCK_ENTRIES", 5)
    random = np.random.default_rng(1)
    cells = random.choice(12 * 9, 40, replace=False)
    values = random.standard_normal(40).astype(np.float32)
    dense = np.zeros((12, 9), np.float32)
    dense.flat[cells] = values
    other = random.standard_normal((9, 3)).astype(np.float32)
    np.testing.assert_allclose(SparseRows(cells // 9, cells % 9, values, (12, 9)) @ other, dense @ other, atol=1e-5)


@pytest.mark.parametrize("different", [1, 3, 40, 4000])
def test_sums_by_row(different: int) -> None:
    """Rows that occur once, a few times, and more often than there are rounds."""
    random = np.random.default_rng(different)
    rows = random.integers(0, different, 200)
    values = random.standard_normal((50, 3)).astype(np.float32)
    owners = random.integers(0, 50, 200)
    expected = np.zeros((different, 3))
    np.add.at(expected, rows, values[owners])
    found, sums = sums_by_row(rows, values, owners)
    np.testing.assert_array_equal(found, np.unique(rows))
    np.testing.assert_allclose(sums, expected[found], atol=1e-4)
    plain, own = sums_by_row(rows[:50], values)
    np.testing.assert_allclose(own.sum(0), values.sum(0), atol=1e-4)
    np.testing.assert_array_equal(plain, np.unique(rows[:50]))


def test_subword_sums_are_adjoint() -> None:
    """What `spread` gives a row is what the sum over words owes it."""
    words = ["compress", "compression", "file", "files", "décor"]
    table = SubwordTable(words, 2, 4, 60)
    random = np.random.default_rng(4)
    matrix = random.standard_normal((table.height, 3)).astype(np.float32)
    chosen = np.array([0, 1, 3, 4])
    selection = table.select(chosen)
    model_rows = [table.select(np.array([word]))._rows for word in chosen]
    np.testing.assert_allclose(selection.means(matrix), [matrix[rows].mean(0) for rows in model_rows], rtol=1e-5)
    gradients = random.standard_normal((4, 3)).astype(np.float32)
    expected = np.zeros_like(matrix)
    for rows, gradient in zip(model_rows, gradients, strict=True):
        np.add.at(expected, rows, gradient)
    rows, sums = selection.spread(gradients)
    found = np.zeros_like(matrix)
    found[rows] = sums
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_fitted_rows_come_near_the_vectors() -> None:
    words = ["alpha", "beta", "gamma", "delta", "epsilon"]
    table = SubwordTable(words, 3, 4, 1000)
    vectors = np.random.default_rng(6).standard_normal((5, 4)).astype(np.float32)
    found = table.select(np.arange(5)).means(table.fit(vectors, np.ones(5, np.float32)))
    alike = (found * vectors).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(vectors, axis=1)
    assert (alike > 0.95).all()


def test_questions_name_each_row_once() -> None:
    some = block(4)
    _, counts = skipgram(some)
    for loss in (NegativeSampling(CORPUS, 5), HierarchicalSoftmax(CORPUS)):
        found: Questions = loss.questions(some.words, counts, np.random.default_rng(1))
        assert len(set(found.rows.tolist())) == len(found.rows)
        assert (found.right <= found.asked + 1e-6).all()
