"""A folder with a small database, and a way to run `vecdb` in it."""

import shutil

import numpy as np
import pytest
from click.testing import CliRunner

import vecdb
from vecdb.cli.main import VecdbGroup, cli

# Three directions: animals, numbers, food. What a search must find can be seen.
WORDS = {
    "cat": (1, 0, 0), "kitten": (0.9, 0.1, 0), "dog": (0.8, 0, 0.2), "animal": (0.9, 0, 0.1),
    "number": (0, 1, 0), "numbers": (0, 1, 0), "seven": (0.1, 0.9, 0), "count": (0, 0.9, 0.1),
    "bread": (0, 0, 1), "cheese": (0.1, 0, 0.9), "soup": (0, 0.1, 0.9), "file": (0.2, 0.9, 0), "read": (0.2, 0.8, 0.1),
}  # fmt: skip

NOTES = [
    ("a", "the cat and the kitten", {"year": 2020, "kind": "note"}),
    ("b", "seven is a number", {"year": 2021, "kind": "note"}),
    ("c", "bread with cheese", {"year": 1999, "kind": "recipe"}),
    ("d", "a dog is an animal", {"year": 2022, "kind": "letter"}),
]


@pytest.fixture(scope="session")
def words_file(tmp_path_factory):
    """Word vectors that one can compute with."""
    path = tmp_path_factory.mktemp("words") / "words.txt"
    lines = [f"{word} {' '.join(map(str, vector))}" for word, vector in WORDS.items()]
    path.write_text(f"{len(WORDS)} 3\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def made_once(tmp_path_factory, words_file):
    """A folder with `notes.vecdb`: a collection of four notes, and an empty one called `old`."""
    folder = tmp_path_factory.mktemp("made") / "folder"
    folder.mkdir()
    with vecdb.open(folder / "notes.vecdb") as database:
        model = database.path / "models" / "words.txt"
        model.parent.mkdir()
        shutil.copy(words_file, model)
        notes = database.create_collection("notes", embedder=f"word2vec:{model}")
        ids, contents, metadata = zip(*NOTES, strict=True)
        notes.add(list(contents), ids=list(ids), metadata=list(metadata))
        database.create_collection("old", dimension=2)
    return folder


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Each test runs in an empty folder, without a variable of the person who runs it."""
    monkeypatch.delenv("VECDB_DB", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("VECDB_LOAD_PLUGINS", "")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def notes(made_once, own_folder):
    """The database `notes.vecdb` in the current folder."""
    shutil.copytree(made_once, own_folder, dirs_exist_ok=True)
    return own_folder / "notes.vecdb"


@pytest.fixture
def run():
    """Run `vecdb ARGUMENTS`; checks the exit status, which is 0 unless `status` says otherwise."""

    def run(*arguments, status=0, input=None, group=None):
        result = CliRunner().invoke(group or cli, [str(one) for one in arguments], input=input, prog_name="vecdb")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == status, (result.stdout, result.stderr)
        return result

    return run


@pytest.fixture
def new_cli():
    """A group that has not asked its plugins yet."""
    return VecdbGroup(cli.name, callback=cli.callback, params=cli.params, context_settings=cli.context_settings)


def sine(path, hertz, seconds=0.5, rate=8000):
    """Write a sound file."""
    times = np.arange(int(seconds * rate)) / rate
    path.write_bytes(vecdb.Audio(0.5 * np.sin(2 * np.pi * hertz * times), sample_rate=rate).data)
    return path
