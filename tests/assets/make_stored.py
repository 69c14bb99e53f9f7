"""Makes tests/assets/schemaN.vecdb: python -m tests.assets.make_stored. Run once for each schema, never again."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import numpy as np

import vecdb
from vecdb.storage.schema import SCHEMA_VERSION

TARGET = Path(__file__).with_name(f"schema{SCHEMA_VERSION}.vecdb")
METADATA = {
    "null": None,
    "true": True,
    "false": False,
    "integer": -(2**63),
    "float": 0.1,
    "text": 'naïve\n"quoted" \\ 🙂',
    "list": [1, "1", 1.5, None, [], {}],
    "nested": {"a.b": {"": "empty key"}, "c": {"d": 1e308}},
    "title": "日本",
}
RECORDS = [
    vecdb.Record("plain", "a text", {}),
    vecdb.Record("日本", "水 家 时间", METADATA),
    vecdb.Record("مرحبا بالعالم", None, {"title": "سلام"}),
    vecdb.Record("🙂🐕", "a text", {"list": list(range(100))}),
    vecdb.Record("e\u0301 is not é", {"title": "a field", "body": "another"}, {"title": "fields"}),
    vecdb.Record("a/b\\c\n\t'\"; DROP TABLE records; --", "the last one", {"year": 2024}),
]
VECTORS = np.array(
    [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0.5, 0.5, 0.5, 0.5], [-0.5, 0.5, -0.5, 0.5]], np.float32
)


def make() -> None:
    """Write the database, which must not exist."""
    if TARGET.exists():
        sys.exit(f"{TARGET} exists: a stored database is never made anew, or it would prove nothing")
    with vecdb.open(TARGET) as database:
        kept = database.create_collection("kept", dimension=4, metric="cosine", index="exact")
        kept.add(
            [record.content for record in RECORDS],
            ids=[record.id for record in RECORDS],
            metadata=[record.metadata for record in RECORDS],
            vectors=VECTORS,
        )
    (TARGET / "writer.lock").unlink()
    (TARGET / "index" / ".keep").touch()  # git keeps no empty folder
    with closing(sqlite3.connect(TARGET / "vecdb.sqlite3")) as connection:  # smaller pages: half the size in git
        for statement in ("journal_mode = DELETE", "page_size = 4096", "journal_mode = WAL"):
            connection.execute(f"PRAGMA {statement}").fetchall()
            connection.execute("VACUUM")


if __name__ == "__main__":
    make()
