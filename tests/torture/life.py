"""One database through several handles, and what it must hold: what the steps of the campaign "model" stand on."""

from __future__ import annotations

import random
import shutil
import warnings
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

import vecdb
from tests.torture.choices import POOL, PREFILLED
from tests.torture.held import Held
from tests.torture.moody import DIMENSION, moody_plugins
from vecdb.types import METRICS

GRAPH: dict[str, Any] = {"index": "hnsw", "index_options": {"M": 6, "ef_construction": 60}}
PLUGINS = moody_plugins()
_SEARCHED = 30  # records of each space that are searched for in an inspection


def raised(call: Any, *arguments: Any, **options: Any) -> BaseException | None:
    """What a call raises, or None."""
    try:
        call(*arguments, **options)
    except BaseException as error:
        return error
    return None


class Handles(RuleBasedStateMachine):
    """One database through up to two writing handles and one that reads only.

    Attributes:
        steps: taken by all machines of this class.
        place: a folder to work in.
        model: what each collection must hold, by its name.
        known: what was embedded and stored once, so that it is not embedded again.
    """

    steps: ClassVar[int] = 0
    place: ClassVar[Path]
    _templates: ClassVar[dict[str, dict[str, Held]]] = {}
    _number: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, Held] = {}
        self.known: set[Any] = set()
        self.handles: list[tuple[vecdb.Database, dict[str, vecdb.Collection]]] = []
        self.touched: tuple[str, list[str]] | None = None
        self.own = 0  # steps of this machine
        self.asked = self.recalled = 0.0
        self.may_warn = self.is_hurt = False
        self.is_well = True
        self._listening = warnings.catch_warnings(record=True)
        self._warnings: Any = self._listening.__enter__()
        warnings.simplefilter("always")

    # --- the beginning and the end ---

    @initialize(metric=st.sampled_from(METRICS))
    def begin(self, metric: str) -> None:
        if metric not in self._templates:
            self._templates[metric] = self._make_template(metric)
        self.model = {name: held.copied() for name, held in self._templates[metric].items()}
        type(self)._number += 1
        self.folder = self.place / f"{self._number}.vecdb"
        shutil.copytree(self.place / f"template-{metric}.vecdb", self.folder)
        self.open()

    def _make_template(self, metric: str) -> dict[str, Held]:
        """A database that each machine begins with a copy of."""
        found = {
            "points": Held("points", metric, {"default": None}),
            "graph": Held("graph", metric, {"default": None}, is_graph=True),
            "texts": Held("texts", metric, {"default": ""}, is_graph=True),
            "pictures": Held("pictures", metric, {"default": ""}),
            "fields": Held("fields", metric, {"default": "title", "extra": None}),
        }
        with vecdb.open(self.place / f"template-{metric}.vecdb", plugins=PLUGINS) as database:
            database.create_collection("points", dimension=3, metric=metric)
            database.create_collection("graph", dimension=DIMENSION, metric=metric, **GRAPH)
            database.create_collection("texts", embedder="moody", metric=metric, **GRAPH)
            database.create_collection("pictures", embedder="moody", metric=metric, index="exact")
            spaces = {
                "default": {"embedder": "moody", "source": "title", "metric": metric},
                "extra": {"dimension": 3, "metric": metric, **GRAPH},
            }
            database.create_collection("fields", spaces=spaces)
            ids = [f"old {n}" for n in range(PREFILLED)]
            database.collection("graph").add([None] * PREFILLED, ids=ids, vectors=POOL[:PREFILLED])
            database.collection("graph").optimize()
            for id, row in zip(ids, POOL, strict=False):
                found["graph"].put(id, None, {}, {"default": row}, "error")
        return found

    def teardown(self) -> None:
        try:
            if self.is_well and self.handles:
                for name in self.model:
                    self._compare(name, len(self.handles) - 1)
                self._inspect(0)
                self.assert_checked(0)
            self.close()
        finally:
            self._listening.__exit__(None, None, None)
            shutil.rmtree(self.place / f"{self._number}.vecdb", ignore_errors=True)
            for path in self.place.glob("backup-*"):
                shutil.rmtree(path)

    def open(self, **options: Any) -> None:
        """One more handle."""
        self.handles.append((vecdb.open(self.folder, plugins=PLUGINS, durability="normal", **options), {}))

    def close(self) -> None:
        """All handles."""
        for database, _ in self.handles:
            database.close()
        self.handles = []

    def database(self, which: int) -> vecdb.Database:
        """One of the handles."""
        return self.handles[which % len(self.handles)][0]

    def writer(self, which: int, name: str) -> vecdb.Collection:
        """A collection through a handle that may write."""
        writing = [handle for handle in self.handles if not handle[0]._engine.read_only]
        return self._collection(*writing[which % len(writing)], name)

    def collection(self, which: int, name: str) -> vecdb.Collection:
        """A collection through any handle."""
        return self._collection(*self.handles[which % len(self.handles)], name)

    def _collection(self, database: vecdb.Database, known: dict[str, vecdb.Collection], name: str) -> vecdb.Collection:
        if name not in known:
            known[name] = database.collection(name)
        return known[name]

    # --- what is always so ---

    @invariant()
    def what_is_always_so(self) -> None:
        if not self.handles:
            return
        type(self).steps += 1
        self.own += 1
        self.is_well = False
        if self.touched is not None:
            name, ids = self.touched
            self.touched = None
            self._look_up(name, ids)
        if self.own % 12 == 0:
            self._compare(list(self.model)[self.own // 12 % len(self.model)], self.own)
        if self.own % 60 == 0:
            self._inspect(self.own)
        said = [one for one in self._warnings if not (self.may_warn and _is_allowed(one))]
        assert not said, [str(one.message) for one in said]
        self.is_well = True

    def _look_up(self, name: str, ids: list[str]) -> None:
        """What the last call spoke of, through one handle after the other."""
        held, wanted = self.model[name], list(dict.fromkeys(ids))
        collection = self.collection(self.own, name)
        found = collection.get(wanted)
        assert [record.id for record in found] == [id for id in wanted if id in held.records]
        for record in found:
            held.assert_record(record)
        for which in range(len(self.handles)):
            assert len(self.collection(which, name)) == len(held.records)

    def _compare(self, name: str, which: int) -> None:
        """All of a collection."""
        held = self.model[name]
        assert self.database(which).collections() == list(self.model)
        held.assert_all(self.collection(which, name))
        held.assert_failures(self.collection(which, name).failures())

    def _inspect(self, which: int) -> None:
        """The indexes of a handle have the labels of the rows, and every record finds itself."""
        for name, held in self.model.items():
            collection = self.collection(which, name)
            for space in held.spaces:
                lacking, surplus = collection._space(space).index.differences()
                assert (lacking, surplus) == ([], []), f"{name}, {space}: lacks {lacking}, holds {surplus} too many"
                self._find(collection, held, space)

    def assert_checked(self, which: int) -> None:
        """`check` finds nothing; index files apart that this machine has damaged and nobody has mended."""
        found = [one for one in self.database(which).check() if not (self.is_hurt and one.where == "index files")]
        assert found == [], found

    def _find(self, collection: vecdb.Collection, held: Held, space: str) -> None:
        """No record is out of reach: what has its vector is found by it, exactly and by the graph."""
        entries = held.in_space(space)
        some = random.Random(self.own).sample(list(entries), min(len(entries), _SEARCHED))
        queries = [entries[id].vector for id in some]
        found = collection.search_batch(queries, k=1, space=space, ef=2 * len(entries) + 10)
        for id, query, hits in zip(some, queries, found, strict=True):
            own = 1 - float(query @ query) if held.metric == "ip" else 0.0
            assert len(hits) == 1, f"{id!r} of {held.name} finds nothing"
            assert hits[0].distance <= own + 1e-4, f"{id!r} of {held.name} finds only {hits[0]}"


def _is_allowed(warning: warnings.WarningMessage) -> bool:
    said = str(warning.message)
    return warning.category is vecdb.IndexRebuiltWarning or "damaged" in said
