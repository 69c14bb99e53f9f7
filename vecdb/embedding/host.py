"""The host of one embedder: everything around its two methods `prepare` and `encode`."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import platform
import unicodedata
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vecdb.embedder import EmbedderInfo, FileHashes, fingerprint
from vecdb.embedding.batches import EmbedCall
from vecdb.embedding.content import check_content
from vecdb.embedding.life import EmbedderLife, plugin_errors, told
from vecdb.embedding.probe import probe_items
from vecdb.errors import (
    EmbedderContractError,
    EmbedderTimeoutError,
    EmbedderUnavailableError,
    EmbeddingError,
    InvalidInputError,
    ItemError,
    VecdbError,
)
from vecdb.options import config_values
from vecdb.types import Metric, Progress, Role, Vector
from vecdb.vectors import normalise


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """The vectors of some items, and what went wrong with the others.

    Attributes:
        vectors: (n, dimension) float32, C-contiguous; row i is item i; rows of failed items are zero.
        errors: sorted by index; each has `index`, `stage` and, as `__cause__`, what was raised.
        truncated: indexes of the items of which only the beginning was embedded, because they are
            longer than the model takes.
    """

    vectors: Vector
    errors: tuple[ItemError, ...] = ()
    truncated: tuple[int, ...] = ()

    def check(self) -> Vector:
        """The vectors, if every item has one.

        Raises:
            EmbeddingError: some items failed; carries every `ItemError`.
        """
        if not self.errors:
            return self.vectors
        first = self.errors[0]
        raise EmbeddingError(
            f"{len(self.errors)} of {len(self.vectors)} items cannot be embedded; the first is item {first.index}: "
            f"{first}. Correct these items or leave them out",
            errors=self.errors,
        ) from first


class EmbedderHost:
    """Runs one embedder. Cheap until used: the embedder is made and loaded on first use.

    Safe to use from several threads, and after a fork (the child loads an embedder of its own). An
    embedder that hangs (longer than `info.timeout`) or breaks is left behind, and a fresh one is loaded.

    Args:
        info: what the plugin says of the embedder.
        config: an instance of `info.config`; secrets as "env:NAME", read when the embedder is made.

    Raises:
        InvalidInputError: the config is of another class.
    """

    def __init__(self, info: EmbedderInfo, config: Any) -> None:
        if not isinstance(config, info.config):
            raise InvalidInputError(
                f"embedder {info.name!r} needs a {info.config.__name__}, not {type(config).__name__}; "
                "make it with info.configure(options)"
            )
        self.info = info
        self.config = config
        self._owner = f"embedder {info.name!r}"
        self._hashes = FileHashes()
        self._life = EmbedderLife(info, config)
        _hosts.add(self)

    def __enter__(self) -> EmbedderHost:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the loaded embedder, once the calls under way are done. A later use loads it again."""
        self._life.close()

    @property
    def dimension(self) -> int:
        """Length of the vectors. Loads the embedder.

        Raises:
            EmbedderUnavailableError: it cannot be loaded.
            EmbedderContractError: it does not say a positive number.
        """
        with self._life.lease() as lease:
            return lease.current().dimension

    def check_content(self, item: Any, *, what: str = "content") -> None:
        """Refuse what the embedder does not take, before any work; loads and reads nothing.

        `str` is text, always; a `Path` is judged by its suffix, and one that is not known is accepted
        if the embedder takes images or sounds but not both.

        Raises:
            UnsupportedContentError: another kind of content.
            InvalidInputError: text that is empty or holds NUL or lone surrogates.
        """
        check_content(item, self.info, what=what)

    def embed(
        self,
        items: Sequence[Any],
        role: Role = "document",
        *,
        metric: Metric | None = None,
        progress: Progress | None = None,
    ) -> Embedded:
        """Embed items; those that cannot be embedded are set apart and the others go on.

        Equal items are embedded once. Text files are read as UTF-8, up to 10 MB.

        Args:
            items: contents of kinds that the embedder takes.
            role: "document" or "query".
            metric: with "cosine" the vectors are scaled to length 1.
            progress: called as `progress(done, len(items))` after each batch.

        Raises:
            EmbedderUnavailableError: the embedder cannot be loaded.
            EmbedderContractError: what it returned is not (n, dimension) floats.
            EmbedderTimeoutError: it cannot be loaded in time, or hangs again and again. (An item that
                hangs alone is an `ItemError`.)
            MemoryError: not even one item fits.
        """
        if isinstance(items, str | bytes | os.PathLike):
            raise InvalidInputError("embed takes a list of items; put the one item into a list")
        if role not in ("document", "query"):
            raise InvalidInputError(f"the role must be 'document' or 'query', not {role!r}")
        positions: dict[Any, int] = {}
        inverse = [positions.setdefault(_identity(item, i), len(positions)) for i, item in enumerate(items)]
        distinct = [items[i] for i in _first_of_each(inverse)]
        counts = np.bincount(inverse, minlength=len(distinct)).tolist() if inverse else []
        with self._life.lease() as lease:
            call = EmbedCall(lease, distinct, role, counts=counts, progress=progress)
            call.run()
        vectors = call.vectors
        if metric == "cosine":
            good = [i for i in range(len(distinct)) if i not in call.failures]
            vectors[good] = normalise(vectors[good])
        if len(distinct) != len(items):
            vectors = vectors[inverse]
        errors = [
            _item_error(*call.failures[position], index=index)
            for index, position in enumerate(inverse)
            if position in call.failures
        ]
        cut = call.truncated - call.failures.keys()
        truncated = tuple(index for index, position in enumerate(inverse) if position in cut) if cut else ()
        return Embedded(vectors, tuple(errors), truncated)

    def fingerprint(self, hashes: FileHashes | None = None) -> str:
        """What makes two vectors comparable (see `vecdb.embedder.fingerprint`); does not load.

        Args:
            hashes: remembered hashes of weight files; by default those of this host.

        Raises:
            EmbedderUnavailableError: a weight file is missing.
        """
        with plugin_errors(self.info, "cannot name its weight files"):
            return fingerprint(self.info, self.info.create(self.config), hashes or self._hashes)

    def probe(self) -> list[Vector | None]:
        """The vectors of three fixed items (short, long, odd) of each kind that the embedder takes.

        None for an item that the embedder cannot embed; compare with `probes_agree`.

        Raises:
            EmbedderContractError: `encode` fails for all of them, so that the fault is not in the items.
            EmbedderTimeoutError: one of them takes too long.
        """
        items = [item for modality in sorted(self.info.modalities) for item in probe_items(modality)]
        if not items:
            return []
        result = self.embed(items)
        for error in result.errors:
            if isinstance(error.__cause__, EmbedderTimeoutError):
                raise error.__cause__  # an item without a vector would be remembered as one that cannot have any
        failed = {error.index for error in result.errors}
        crashes = [error for error in result.errors if error.stage == "encode" and error.__cause__ is not None]
        if len(crashes) == len(items) and not any(isinstance(e.__cause__, VecdbError) for e in crashes):
            raise EmbedderContractError(
                f"{self._owner}: encode fails for every item ({crashes[0]}); report it to the plugin's author",
                name=self.info.name,
            ) from crashes[0]
        return [None if i in failed else result.vectors[i] for i in range(len(items))]

    def environment(self) -> dict[str, str]:
        """What may change the vectors and is not in the fingerprint: where it differs, probe again.

        Runtime options, the machine's architecture, the version of Unicode, and the versions of the
        plugin's distribution, of numpy and of the libraries that the embedder uses.
        """
        found = {f"option {name}": json.dumps(value) for name, value in config_values(self.config, "runtime").items()}
        found["machine"] = platform.machine()
        found["unicode"] = unicodedata.unidata_version
        found["numpy"] = np.__version__
        found[self.info.distribution] = _version(self.info.distribution)
        for module in (*self.info.requires, *self.info.optional):
            found[module] = _version(module.partition(".")[0])
        return found


_hosts: weakref.WeakSet[EmbedderHost] = weakref.WeakSet()


def _renew_after_fork() -> None:
    for host in list(_hosts):
        host._life.after_fork()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)


def _identity(item: Any, index: int) -> Any:
    """What equal items share; an item of an unknown kind (an error later) is equal only to itself."""
    try:
        hash(item)
    except TypeError:
        return (index,)
    return (type(item), item)


def _first_of_each(inverse: Sequence[int]) -> list[int]:
    """The index at which each position, numbered by first appearance, stands first."""
    found: list[int] = []
    for index, position in enumerate(inverse):
        if position == len(found):
            found.append(index)
    return found


def _item_error(cause: Exception, stage: str, *, index: int) -> ItemError:
    error = ItemError(told(cause), index=index, stage=stage)
    error.__cause__ = cause
    return error


def _version(name: str) -> str:
    try:
        return _installed(name)
    except OSError as error:
        raise EmbedderUnavailableError(
            f"the version of {name} cannot be read: {error.strerror}; close files that are not needed, or reinstall it",
            name=name,
        ) from error


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # a module may have another name than its distribution
        distributions = _distributions().get(name, [])
        return importlib.metadata.version(distributions[0]) if distributions else ""


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    """Module to distributions; looking for them takes 0.1 s and more."""
    return importlib.metadata.packages_distributions()
