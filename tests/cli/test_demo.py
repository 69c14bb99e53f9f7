"""`vecdb demo` and where its texts come from."""

import re
import textwrap

import pytest

import vecdb
from vecdb.cli import docstrings
from vecdb.cli.docstrings import MAX_CHARACTERS, find_docstrings


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A small demo, made once: its folder and what it printed."""
    from click.testing import CliRunner

    from vecdb.cli.main import cli

    path = tmp_path_factory.mktemp("demo") / "demo.vecdb"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        patch.setenv("VECDB_LOAD_PLUGINS", "")
        result = CliRunner().invoke(cli, ["--db", str(path), "demo", "--limit", "2500"], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return path, result


def test_it_tells_what_it_did_and_what_to_type_next(demo):
    path, result = demo
    for told in ("Read 2,500 docstrings", "Trained fastText on ", "stored 2,500 records", "Indexed ", "Done in "):
        assert told in result.stderr
    assert f'vecdb --db {path} search "compress a file" --where kind=function' in result.stderr
    assert result.stdout.count("> vecdb search") == 4
    tables = [line for line in result.stdout.splitlines() if not line.startswith(">")]
    assert max(map(len, tables)) <= 80


def test_what_it_finds_makes_sense(demo):
    with vecdb.open(demo[0], read_only=True) as database:
        collection = database.collection("docstrings")
        for query, expected in {
            "square root": "sqrt",
            "sleep for some seconds": "sleep",
            "read a csv file": "csv",
            "comprss data": "zlib",
        }.items():
            hits = collection.search(query, k=5)
            assert any(expected in hit.id for hit in hits), (query, [hit.id for hit in hits])
        assert {hit.metadata["kind"] for hit in collection.search("error", where={"kind": "class"})} == {"class"}
        sqrt = collection.get(["math.sqrt"])[0]
        assert sqrt.content == "math.sqrt: Return the square root of x."
        assert sqrt.metadata == {
            "kind": "function", "source": "stdlib", "package": "math", "module": "math", "name": "sqrt",
        }  # fmt: skip


def test_it_replaces_nothing_unasked(demo, run):
    assert "--force" in run("--db", demo[0], "demo", status=1).stderr


def test_force_replaces_a_demo_and_nothing_else(run, notes, own_folder):
    assert "other collections" in run("--db", "notes.vecdb", "demo", "--force", status=1).stderr
    assert run("count").stdout == "4\n"
    run("--db", "new.vecdb", "init")
    run("--db", "new.vecdb", "demo", "--force", "--limit", "300")
    assert run("--db", "new.vecdb", "count").stdout == "300\n"
    (own_folder / "plain").mkdir()
    (own_folder / "plain" / "letter.txt").write_text("keep me")
    run("--db", "plain", "demo", "--force", status=1)
    assert (own_folder / "plain" / "letter.txt").exists()


def test_the_record_that_it_names_is_there(run, own_folder):
    told = run("demo", "--limit", "200").stderr
    id = re.search(r"vecdb get (\S+)", told)[1]
    assert id != "gzip.open"
    run("get", id)


def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(run, own_folder, monkeypatch):
    (own_folder / "file").write_text("no folder")
    monkeypatch.setattr("vecdb.cli.demo.find_docstrings", lambda **_: pytest.fail("docstrings were read"))
    assert "Error: " in run("--db", "file/demo.vecdb", "demo", status=1).stderr


def test_half_a_demo_is_cleared_away(run, own_folder, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("vecdb.cli.demo._store", interrupt)
    run("demo", "--limit", "300", status=130)
    assert list(own_folder.iterdir()) == []


# --- docstrings ---------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A standard library and a site-packages folder of our own."""
    stdlib, site = tmp_path / "lib", tmp_path / "lib" / "site-packages"
    (site / "pack" / "tests").mkdir(parents=True)
    monkeypatch.setattr(docstrings, "_COMPILED", {"math": "math"})
    monkeypatch.setattr(
        "sysconfig.get_paths", lambda: {"stdlib": str(stdlib), "purelib": str(site), "platlib": str(site)}
    )
    (stdlib / "box.py").write_text(textwrap.dedent('''
        """A module about boxes and what is in them."""
        import sys
        raise SystemExit("this file is never run")

        class Box:
            """Holds things of all kinds until they are needed."""

            def open(self):
                """Open the box and show what lies in it."""

            def _secret(self):
                """This one is private and is not to be found."""

        if sys.version_info > (3,):
            async def carry(box):
                """Carry a box from one place to another one."""
        else:
            def carry(box):
                """The second one of the same name is left out."""

        def short():
            """Too short."""
    '''))
    (stdlib / "_pycrate.py").write_text('"""What the module crate is made of, in Python."""')
    (stdlib / "assigned.py").write_text('__doc__ = """A docstring that is assigned to its name."""')
    (stdlib / "broken.py").write_text('"""A module that cannot be parsed at all."""\ndef (:')
    (stdlib / "_private.py").write_text('"""A private module that is not to be found."""')
    (stdlib / "latin.py").write_bytes(b'"""A file that is not in UTF-8: \xe9\xe9 and more."""')
    (site / "pack" / "__init__.py").write_text('"""A package that somebody has installed."""\n"\\d"\n')
    (site / "pack" / "long.py").write_text(f'"""{"A long text of many words. " * 200}"""')
    (site / "pack" / "tests" / "test_x.py").write_text('"""A test that is not to be found by this."""')
    return site


def test_public_names_are_found_with_what_they_are(library):
    found = {one.id: one for one in find_docstrings()}
    assert {id: (one.kind, one.source) for id, one in found.items() if one.package != "math"} == {
        "assigned": ("module", "stdlib"),
        "box": ("module", "stdlib"),
        "box.Box": ("class", "stdlib"),
        "box.Box.open": ("method", "stdlib"),
        "box.carry": ("function", "stdlib"),
        "crate": ("module", "stdlib"),
        "pack": ("module", "installed"),
        "pack.long": ("module", "installed"),
    }
    assert found["box.carry"].text == "Carry a box from one place to another one."
    assert found["math.sqrt"].metadata["kind"] == "function"
    assert 0 < len(found["pack.long"].text) <= MAX_CHARACTERS


def test_limits_on_number_package_and_time(library, monkeypatch):
    assert len(list(find_docstrings(limit=3))) == 3
    assert {one.package for one in find_docstrings(seconds=0)} == {"math"}
    monkeypatch.setattr(docstrings, "MAX_OF_INSTALLED_PACKAGE", 1)
    assert [one.id for one in find_docstrings() if one.package == "pack"] == ["pack"]
