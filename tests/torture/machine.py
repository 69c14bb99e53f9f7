"""Opening, care, damage, backup and migration: with the calls, the steps of the campaign "model"."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

import vecdb
from tests.torture.calls import Calls
from tests.torture.choices import NUMBERS, READABLE, WHICH
from tests.torture.life import GRAPH, PLUGINS, raised
from tests.torture.moody import in_mood
from tests.torture.older import make_older
from vecdb.database import upgrade
from vecdb.storage.engine import DATABASE_FILE


class Databases(Calls):
    """What happens to a database between the calls."""

    @precondition(lambda self: self.own % 5 == 0)
    @rule(
        which=WHICH,
        name=st.sampled_from(["graph", "texts", "fields"]),
        call=st.sampled_from(["optimize", "optimize", "reindex"]),
    )
    def build(self, which: int, name: str, call: str) -> None:
        getattr(self.writer(which, name), call)()

    @precondition(lambda self: self.own % 20 == 3)
    @rule(which=WHICH, fix=st.booleans())
    def check(self, which: int, fix: bool) -> None:
        database = self.database(which)
        if fix and not database._engine.read_only:
            report = database.check(fix=True)
            assert report, list(report)
            self.is_hurt = False
        self.assert_checked(which)

    @precondition(lambda self: self.own % 30 == 11)
    @rule(which=WHICH, name=st.sampled_from(["points", "texts"]))
    def make_anew(self, which: int, name: str) -> None:
        """A collection is deleted and made again: handles of the old one say so."""
        database = self._writing_database(which)
        old = self.collection(which, name)
        database.delete_collection(name)
        assert type(raised(old.count)) is vecdb.CollectionNotFoundError
        options: Any = {"dimension": 3} if name == "points" else {"embedder": "moody", **GRAPH}
        database.create_collection(name, metric=self.model[name].metric, **options)
        for _, known in self.handles:
            known.pop(name, None)
        self.model[name] = self.model.pop(name)  # the last one made
        self.model[name].records, self.model[name].failures = {}, {}

    def _writing_database(self, which: int) -> vecdb.Database:
        writing = [database for database, _ in self.handles if not database._engine.read_only]
        return writing[which % len(writing)]

    @precondition(lambda self: self.own % 20 == 6)
    @rule()
    def reopen(self) -> None:
        self.close()
        self.open()

    @precondition(lambda self: len(self.handles) < 3)
    @rule(read_only=st.booleans())
    def open_another(self, read_only: bool) -> None:
        if read_only or len(self.handles) < 2:
            self.open(read_only=read_only)

    @rule(name=st.sampled_from(["points", "texts"]))
    def write_through_a_reader(self, name: str) -> None:
        """Nothing is written, and the handle goes on."""
        for database, known in self.handles:
            if database._engine.read_only:
                collection = self._collection(database, known, name)
                contents, options = (["red"], {}) if name == "texts" else ([None], {"vectors": [[1, 2, 3]]})
                errors = [
                    raised(collection.upsert, contents, ids=["never"], **options),
                    raised(collection.delete, where={}),
                    raised(database.create_collection, "never", dimension=2),
                    raised(database.delete_collection, name),
                ]
                assert [type(error) for error in errors] == [vecdb.ReadOnlyError] * 4, errors
                self.touched = (name, ["never"])

    @precondition(lambda self: self.own % 15 == 7)
    @rule(number=NUMBERS, how=st.sampled_from(["gone", "cut", "flipped", "empty", "zeros", "swapped"]))
    def damage_index_files(self, number: int, how: str) -> None:
        """Between two openings. Answers stay right, and there is a warning where there had been a graph."""
        self.close()
        files, chance = sorted((self.folder / "index").glob("*.hnsw")), random.Random(number)
        hit = files if chance.random() < 0.7 else chance.sample(files, min(1, len(files)))
        with closing(sqlite3.connect(self.folder / DATABASE_FILE)) as connection:
            graph = {
                name
                for (name,) in connection.execute(
                    "SELECT index_files.name FROM index_files JOIN spaces ON spaces.id = space_id "
                    "JOIN collections ON collections.id = collection_id WHERE collections.name = 'graph'"
                )
            }
        contents = {path: path.read_bytes() for path in hit}
        for path, other in zip(hit, [*hit[1:], *hit[:1]], strict=True):
            data = contents[path]
            match how:
                case "gone":
                    path.unlink()
                case "cut":
                    path.write_bytes(data[: chance.randrange(len(data))])
                case "flipped":
                    place = chance.randrange(len(data))
                    path.write_bytes(data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :])
                case "empty":
                    path.write_bytes(b"")
                case "zeros":
                    path.write_bytes(bytes(len(data)))
                case "swapped":
                    path.write_bytes(contents[other])
        self.may_warn = self.is_hurt = True
        self.open()
        before = len(self._warnings)
        self.search_graph(number, 0, 10, None)
        is_lost = (
            graph and graph <= {path.name for path in hit} and (how != "swapped" or len(set(contents.values())) > 1)
        )
        if is_lost:
            said = [one.category for one in self._warnings[before:]]
            assert vecdb.IndexRebuiltWarning in said, f"{how} was not noticed: {said}"

    @precondition(lambda self: self.own % 50 == 14)
    @rule(number=NUMBERS)
    def damage_vectors(self, number: int) -> None:
        """Bytes of an embedded vector change in the database file: `check` finds it, and `fix` mends it."""
        self.close()
        chance = random.Random(number)
        with closing(sqlite3.connect(self.folder / DATABASE_FILE, isolation_level=None)) as connection:
            labels = connection.execute(
                "SELECT DISTINCT label FROM record_vectors WHERE source_hash IS NOT NULL ORDER BY label"
            ).fetchall()
            hit = chance.sample(labels, min(len(labels), chance.randint(1, 2)))
            for (label,) in hit:
                (data,) = connection.execute("SELECT data FROM vectors WHERE label = ?", (label,)).fetchone()
                place = chance.randrange(len(data))
                data = data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]
                connection.execute("UPDATE vectors SET data = ? WHERE label = ?", (data, label))
        self.open()
        self.may_warn = True
        database = self.database(0)
        found = [problem for problem in database.check() if problem.where != "index files"]
        assert len(found) == len(hit), found
        report = database.check(fix=True)
        assert report, list(report)
        self.is_hurt = False
        self.assert_checked(0)

    @precondition(lambda self: self.own % 20 == 1)
    @rule(go_on=st.booleans(), which=WHICH)
    def back_up(self, go_on: bool, which: int) -> None:
        """The copy holds what the database does; sometimes the copy is what goes on."""
        copy = self.place / f"backup-{self._number}-{self.own}.vecdb"
        self.database(which).backup(copy)
        with vecdb.open(copy, plugins=PLUGINS, durability="normal") as database:
            assert database.collections() == list(self.model)
            for name, held in self.model.items():
                held.assert_all(database.collection(name))
            assert list(database.check()) == [], list(database.check())  # without the files that do not fit
        if go_on:
            self.is_hurt = False
            self.close()
            shutil.rmtree(self.folder)
            copy.rename(self.folder)
            self.open()

    @precondition(lambda self: self.own % 40 == 17)
    @rule()
    def migrate(self) -> None:
        """The database becomes one of the schema before, is refused, and upgraded."""
        self.close()
        version = make_older(self.folder)
        error = raised(self.open)
        assert type(error) is vecdb.SchemaVersionError, repr(error)
        assert error.found == str(version)
        assert upgrade(self.folder) is not None
        self.open()
        self.known = {item for held in self.model.values() for item in held.contents()}  # the cache was dropped

    @precondition(lambda self: self.own % 30 == 10)
    @rule(which=WHICH)
    def vacuum(self, which: int) -> None:
        """What was deleted is forgotten whole: it has to be embedded again."""
        report = self._writing_database(which).vacuum()
        assert report.after > 0
        self.known = {item for held in self.model.values() for item in held.contents()}

    @precondition(lambda self: self.own % 30 == 13)
    @rule(text=READABLE)
    def another_dimension(self, text: str) -> None:
        """The embedder makes longer vectors after a reopening: it is refused, and nothing is stored."""
        self.close()
        self.open()
        texts = self.collection(0, "texts")
        with in_mood("", extra=1):
            error = raised(texts.upsert, [text], ids=["longer"])
            is_known = text in self.known or self.model["texts"].records.get("longer", (None,))[0] == text
            assert is_known or type(error) is vecdb.EmbedderMismatchError, repr(error)
            assert type(raised(texts.search, text)) is vecdb.EmbedderMismatchError
        if is_known:
            assert error is None
            self.model["texts"].put("longer", text, {}, {}, "replace")
        self.close()
        self.open()
        self.touched = ("texts", ["longer"])
