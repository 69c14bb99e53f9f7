"""`vecdb index`: what changed goes in, what is gone comes out, what is bad costs only itself."""

import json
import os
import shutil

import pytest

import vecdb
from tests.cli.conftest import sine
from vecdb.cli.files import find_files


@pytest.fixture
def docs(own_folder):
    """A folder with texts, and things that are none."""
    folder = own_folder / "docs"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "animals.md").write_text("# Animals\n\nThe cat and the kitten.\n\n## Dogs\n\nA dog is an animal.\n")
    (folder / "numbers.txt").write_text("Seven is a number.\n")
    (folder / "deep" / "er" / "README").write_text("Read a file. Count the numbers.")
    (folder / "Überraschung 🎉.txt").write_text("cheese — soup, bread")
    (folder / ".hidden").write_text("cat")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("cat")
    (folder / "program.bin").write_bytes(b"\x7fELF\0\0")
    (folder / "old.txt").write_bytes("café".encode("latin-1"))
    (folder / "empty.txt").touch()
    (folder / "spaces.txt").write_text(" \n ")
    return folder


@pytest.fixture
def index(run, words_file):
    """Run `vecdb --db pets.vecdb index` with word vectors, and give its report."""

    def index(*arguments, embedder=True):
        chosen = ["--embedder", f"word2vec:{words_file}"] if embedder else []
        result = run("--db", "pets.vecdb", "index", *arguments, *chosen, "--format", "json")
        return json.loads(result.stdout)

    return index


def ids(collection="files"):
    with vecdb.open("pets.vecdb") as database:
        return {record.id: record for record in database.collection(collection)}


def test_texts_are_found_cut_and_described(index, docs):
    report = index("docs")
    # A file of spaces holds nothing to embed: it is skipped, and not a file that went in as well.
    assert (report["files"], report["records_added"], report["embedded"]) == (4, 5, 5)
    records = ids()
    assert set(records) == {
        "docs/animals.md#1", "docs/animals.md#2", "docs/numbers.txt#1", "docs/deep/er/README#1",
        "docs/Überraschung 🎉.txt#1",
    }  # fmt: skip
    dogs = records["docs/animals.md#2"]
    assert dogs.content == "## Dogs\n\nA dog is an animal."
    assert dogs.metadata["modified"].endswith("+00:00")
    assert {key: dogs.metadata[key] for key in ("path", "heading", "line", "passage", "passages", "kind")} == {
        "path": "docs/animals.md", "heading": "Animals › Dogs", "line": 5, "passage": 2, "passages": 2, "kind": "text",
    }  # fmt: skip


def test_what_is_left_out_is_counted_with_its_reason(index, docs, run, words_file):
    assert index("docs")["skipped"] == 6
    told = run("--db", "pets.vecdb", "index", "docs").stderr
    for line in ("2 skipped, hidden: .git, .hidden", "1 skipped, binary: program.bin",
                 "1 skipped, not UTF-8 text: old.txt", "2 skipped, empty: empty.txt, spaces.txt"):  # fmt: skip
        assert line in told


def test_a_second_run_embeds_nothing_and_reads_nothing(index, docs, monkeypatch):
    index("docs")
    monkeypatch.setattr("vecdb.cli.indexing.read_text", lambda path: pytest.fail(f"{path} was read"))
    shutil.rmtree(docs / ".git")
    (docs / "spaces.txt").unlink()
    report = index("docs", embedder=False)
    assert (report["unchanged"], report["embedded"], report["records_added"], report["records_updated"]) == (4, 0, 0, 0)


def test_only_what_changed_is_embedded(index, docs):
    index("docs")
    (docs / "animals.md").write_text("# Animals\n\nThe cat and the kitten.\n\n## Dogs\n\nA dog and a cat.\n")
    os.utime(docs / "numbers.txt", (1, 1))
    report = index("docs")
    # The touched file and the first passage get a new time of change in their metadata: no embedding.
    assert (report["embedded"], report["records_updated"], report["unchanged"]) == (1, 3, 2)
    assert ids()["docs/numbers.txt#1"].metadata["modified"] == "1970-01-01T00:00:01+00:00"


def test_a_file_that_became_shorter_loses_its_last_passages(index, docs):
    index("docs")
    (docs / "animals.md").write_text("# Animals\n\nThe cat and the kitten.\n")
    assert index("docs")["records_removed"] == 1
    assert [id for id in ids() if "animals" in id] == ["docs/animals.md#1"]


def test_files_that_are_gone_come_out_but_only_below_the_given_paths(index, docs):
    index("docs")
    (docs / "numbers.txt").unlink()
    shutil.rmtree(docs / "deep")
    (docs / "animals.md").write_bytes(b"\0binary now")
    assert index("docs/deep")["records_removed"] == 1
    assert "docs/numbers.txt#1" in ids()
    report = index("docs")
    assert (report["removed"], report["records_removed"]) == (2, 3)
    assert list(ids()) == ["docs/Überraschung 🎉.txt#1"]


def test_the_same_files_have_the_same_ids_from_wherever_it_runs(index, docs, run, monkeypatch):
    index("docs")
    monkeypatch.chdir(docs)
    report = json.loads(run("--db", "../pets.vecdb", "index", ".", "../docs/deep", "--format", "json").stdout)
    assert (report["files"], report["embedded"], report["records_removed"]) == (4, 0, 0)


def test_a_missing_path_whose_files_are_known_means_that_they_are_gone(index, docs, run):
    index("docs")
    shutil.rmtree(docs)
    assert index("docs", embedder=False)["records_removed"] == 5


def test_files_outside_the_databases_folder_have_absolute_names(index, docs, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "cats.txt"
    elsewhere.write_text("a cat")
    index(elsewhere)
    assert list(ids()) == [f"{elsewhere}#1"]


def test_an_interrupted_run_is_taken_up_again(run, own_folder, words_file, index, monkeypatch):
    (own_folder / "docs").mkdir()
    for number in range(30):
        (own_folder / "docs" / f"{number:02}.txt").write_text(f"cat {'kitten ' * number}")
    monkeypatch.setattr("vecdb.collection.INGEST_BATCH", 10)
    from vecdb.cli import indexing

    usual = indexing.file_records

    def interrupt(file):
        if file.path.name == "25.txt":
            raise KeyboardInterrupt
        return usual(file)

    monkeypatch.setattr(indexing, "file_records", interrupt)
    command = ["--db", "pets.vecdb", "index", "docs", "--embedder", f"word2vec:{words_file}"]
    assert "Interrupted" in run(*command, status=130).stderr
    stored = len(ids())
    assert stored in (10, 20)  # the second batch may have been on its way
    monkeypatch.setattr(indexing, "file_records", usual)
    report = index("docs")
    assert (report["unchanged"], report["embedded"]) == (stored, 30 - stored)
    assert len(ids()) == 30


def test_a_file_half_of_which_was_stored_is_read_again(index, docs):
    index("docs")
    with vecdb.open("pets.vecdb") as database:
        database.collection("files").delete(["docs/animals.md#2"])
    assert index("docs")["records_added"] == 1


def test_a_text_without_a_known_word_costs_only_itself_and_is_not_tried_each_time(index, docs, run):
    (docs / "foreign.txt").write_text("xyzzy plugh")
    report = index("docs")
    assert (report["failed"], report["records_added"]) == (1, 5)
    assert "docs/foreign.txt#1" in run("failures", "list").stdout
    again = index("docs")
    # A file that was set aside is not tried again, but neither passes for one that is stored.
    assert (again["files"], again["unchanged"], again["failed"], again["set_aside"]) == (5, 4, 0, 1)
    assert "1 (see `vecdb failures list`)" in run("--db", "pets.vecdb", "index", "docs").stdout
    (docs / "foreign.txt").write_text("a cat")
    assert index("docs")["records_added"] == 1
    assert "no failure" in run("failures", "list").stderr


def test_a_text_that_turns_out_not_to_be_one(index, docs, run):
    (docs / "late.txt").write_bytes(b"cat " * 5000 + b"\xff")
    assert index("docs")["records_added"] == 5
    assert "not UTF-8 text: old.txt, late.txt" in run("--db", "pets.vecdb", "index", "docs").stderr


def test_sounds_go_to_a_space_of_their_own_and_a_bad_one_costs_only_itself(index, docs, run):
    pytest.importorskip("soundfile")
    for hertz in (200, 1000, 3000):
        sine(docs / f"{hertz}.wav", hertz)
    (docs / "bad.wav").write_text("no sound")
    report = index("docs")
    assert report["collections"] == ["files", "files-audio"]
    assert (report["files"], report["records_added"], report["failed"]) == (8, 8, 1)
    found = json.loads(run("search", "--file", docs / "1000.wav", "-k", "1", "--format", "json").stdout)
    assert found[0]["id"] == "docs/1000.wav"
    assert json.loads(run("search", "kitten", "-k", "1", "--format", "json").stdout)[0]["id"] == "docs/animals.md#1"
    again = index("docs")
    assert (again["embedded"], again["failed"]) == (0, 0)
    (docs / "200.wav").unlink()
    assert index("docs")["records_removed"] == 1


def test_images_are_left_out_without_an_embedder_for_them(index, docs, run):
    (docs / "dot.png").write_bytes(b"\x89PNG\r\n")
    index("docs")
    assert "--image-embedder: dot.png" in run("--db", "pets.vecdb", "index", "docs").stderr


def test_without_an_embedder_one_is_trained_on_the_texts_and_kept_in_the_database(run, own_folder, monkeypatch):
    (own_folder / "docs").mkdir()
    (own_folder / "docs" / "cats.txt").write_text("The cat sleeps in the sun. A kitten plays with the cat.\n" * 5)
    (own_folder / "docs" / "bread.txt").write_text("Bake the bread in the oven. Bread is flour and water.\n" * 5)
    result = run("--db", "pets.vecdb", "index", "docs")
    assert "Trained fasttext on your texts" in result.stderr
    assert (own_folder / "pets.vecdb" / "models" / "files.bin").exists()
    shutil.move(own_folder / "pets.vecdb", own_folder / "moved.vecdb")
    found = json.loads(run("search", "kittens", "--format", "json").stdout)
    assert found[0]["id"] == "docs/cats.txt#1"


def test_too_little_text_to_train_on_says_what_to_do(run, own_folder):
    (own_folder / "a.txt").write_text("cat")
    told = run("--db", "pets.vecdb", "index", "a.txt", status=1).stderr
    assert "--embedder" in told
    assert "give more text" in told
    assert "min_count" not in told


@pytest.mark.parametrize(
    ("option", "embedder", "said"),
    [
        ("--embedder", "mfcc", "'mfcc' takes audio, not text; give it with --audio-embedder"),
        ("--audio-embedder", "fasttext:m.bin", "'fasttext' takes text, not audio; give it with --embedder"),
        ("--image-embedder", "spectrogram", "'spectrogram' takes audio, not image"),
    ],
)
def test_an_embedder_for_another_kind_of_file_makes_no_collection(option, embedder, said, run, docs, words_file):
    result = run("--db", "pets.vecdb", "index", "docs", option, embedder, status=1)
    assert said in result.stderr
    assert not (docs.parent / "pets.vecdb").exists()
    run("--db", "pets.vecdb", "index", "docs", "--embedder", f"word2vec:{words_file}")


def test_a_path_that_does_not_exist_is_wrong_usage_and_makes_no_database(run, own_folder, index, docs):
    assert "none.txt" in run("--db", "pets.vecdb", "index", "none.txt", status=2).stderr
    assert not (own_folder / "pets.vecdb").exists()
    index("docs")
    assert "none.txt" in run("index", "none.txt", status=2).stderr


def test_another_embedder_than_the_collections_is_refused(index, docs, run, words_file):
    index("docs")
    result = run("index", "docs", "--embedder", f"word2vec:{words_file}", "--option", "pooling=mean", status=1)
    assert "differs" in result.stderr


def test_the_summary_for_people(run, docs, words_file):
    lines = run("--db", "pets.vecdb", "index", "docs", "--embedder", f"word2vec:{words_file}").stdout.splitlines()
    assert "files            4" in lines
    assert "set aside        0" in lines
    assert "records added    5" in lines


# --- finding files ------------------------------------------------------------------------------


def test_links_to_folders_and_unreadable_folders_are_told(docs, own_folder):
    (docs / "loop").symlink_to(docs, target_is_directory=True)
    (docs / "dangling.txt").symlink_to(own_folder / "none")
    found, skipped = find_files([docs, docs / "numbers.txt"], own_folder)
    assert len(found) == 5
    assert skipped.counts["links to folders"] == 1
    assert any(reason.startswith("unreadable") for reason in skipped.counts)


def test_databases_and_caches_are_passed_over_and_a_hidden_path_that_is_named_is_taken(docs, own_folder):
    (docs / "other.vecdb").mkdir()
    (docs / "other.vecdb" / "x.txt").write_text("cat")
    (docs / "__pycache__").mkdir()
    (docs / "__pycache__" / "x.txt").write_text("cat")
    found, _ = find_files([docs, docs / ".hidden"], own_folder)
    assert [file.name for file in found if "x.txt" in file.name] == []
    assert "docs/.hidden" in [file.name for file in found]
