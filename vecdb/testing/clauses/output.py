"""The vectors that an embedder makes."""

from __future__ import annotations

import numpy as np

from vecdb.testing.case import ContractCase, ContractError, NotApplicableError
from vecdb.testing.compare import SAME, SAME_IN_BATCH, Rows, relative_distance, require_close, rows
from vecdb.types import Role
from vecdb.vectors import exact_distances

ROLES: tuple[Role, ...] = ("document", "query")


def dimension(case: ContractCase) -> None:
    """`dimension` is known after `load` and true of every vector."""
    with case.host() as host:
        known = host.dimension
        width = case.vectors.shape[1]
    if known != width:
        raise ContractError(f"dimension is {known}, but vectors have {width} numbers; return the same")


def shape(case: ContractCase) -> None:
    """`encode` returns one float row of `dimension` numbers for each item."""
    with case.loaded() as embedder:
        prepared = case.prepared(embedder)
        for count in (1, len(prepared)):
            returned = np.asarray(embedder.encode(prepared[:count], "document"))
            expected = (count, embedder.dimension)
            if returned.shape != expected:
                raise ContractError(f"encode returned shape {returned.shape} for {count} items; return {expected}")
            if returned.dtype.kind != "f":
                raise ContractError(f"encode returned {returned.dtype}; return floats, best numpy.float32")


def finite(case: ContractCase) -> None:
    """No vector of a good item holds NaN or infinity, or is zero."""
    with case.loaded() as embedder:
        vectors = rows(embedder, case.prepared(embedder))
    for index, row in enumerate(vectors):
        if not np.isfinite(row).all():
            raise ContractError(
                f"the vector of good item {index} holds NaN or infinity; guard divisions and logarithms, or "
                "raise vecdb.ItemError for what cannot be embedded"
            )
        if not row.any():
            raise ContractError(
                f"the vector of good item {index} is zero: nothing in it is known to the embedder; "
                "give good items that it knows, or raise vecdb.ItemError for such items"
            )


def order(case: ContractCase) -> None:
    """Row i belongs to item i."""
    together, alone = _together_and_alone(case)
    for index, row in enumerate(alone):
        distances = np.linalg.norm(together - row, axis=1)
        nearest = int(distances.argmin())
        if distances[nearest] + SAME_IN_BATCH * np.linalg.norm(row) < distances[index]:
            raise ContractError(
                f"in a batch, row {nearest} is the vector of item {index}; return rows in the order of the "
                "batch (the host sorts by cost, an embedder must not)"
            )


def batch_invariance(case: ContractCase) -> None:
    """A vector does not depend on the other items of its batch."""
    together, alone = _together_and_alone(case)
    require_close(
        alone,
        together,
        SAME_IN_BATCH,
        fault="in a batch, unlike alone",
        advice="mask padding, and use no statistics of the batch",
    )


def determinism(case: ContractCase) -> None:
    """The same items give the same vectors: again, from another instance, and in another process."""
    advice = "take nothing from clocks, unseeded random numbers, or `hash()` and the order of sets"
    with case.host() as host:
        first, second = host.embed(case.good).check(), host.embed(case.good).check()
    for fault, other in (
        ("embedded again", second),
        ("from another instance", case.vectors),
        ("in another process", case.other_vectors),
    ):
        require_close(first, other, SAME, fault=fault, advice=advice)


def distinct(case: ContractCase) -> None:
    """Different items have different vectors."""
    vectors = case.vectors
    for index in range(len(vectors)):
        for other in range(index):
            if case.good[index] != case.good[other] and relative_distance(vectors[index], vectors[other]) < 1e-5:
                raise ContractError(
                    f"good items {other} and {index} have the same vector; look whether the content is used at "
                    "all, or give good items that differ to this embedder"
                )


def roles(case: ContractCase) -> None:
    """Both roles work, alike in shape."""
    with case.loaded() as embedder:
        prepared = case.prepared(embedder)
        for role in ROLES:
            try:
                vectors = rows(embedder, prepared, role)
            except Exception as error:
                raise ContractError(
                    f"encode fails for the role {role!r}: {type(error).__name__}: {error}; an embedder "
                    "that has no roles ignores the argument"
                ) from error
            if vectors.shape != (len(prepared), embedder.dimension) or not np.isfinite(vectors).all():
                raise ContractError(
                    f"for the role {role!r}, encode returned shape {vectors.shape} or numbers that are not finite; "
                    f"return {(len(prepared), embedder.dimension)}"
                )


def nearness(case: ContractCase) -> None:
    """The nearer of two items is nearer."""
    if not case.near:
        raise NotApplicableError("no `near` items given")
    with case.host() as host:
        metric = case.info.metrics[0]
        query = host.embed(case.near[:1], "query", metric=metric).check()[0]
        documents = host.embed(case.near[1:], metric=metric).check()
    near, far = exact_distances(metric, query, documents)
    if near >= far:
        raise ContractError(
            f"{case.near[0]!r} is as near to {case.near[2]!r} ({far:.4f}) as to {case.near[1]!r} ({near:.4f}) by "
            f"{metric}; look at the weights, the pooling and the preprocessing"
        )


def _together_and_alone(case: ContractCase) -> tuple[Rows, Rows]:
    """The good items' vectors as one batch, and each as a batch of its own."""
    with case.loaded() as embedder:
        prepared = case.prepared(embedder)
        together = rows(embedder, prepared)
        alone = np.concatenate([rows(embedder, [item]) for item in prepared])
    if together.shape != alone.shape:
        raise ContractError(
            f"a batch of {len(prepared)} gives shape {together.shape}, one by one {alone.shape}; return a row an item"
        )
    return together, alone
