"""Databases, collections, embedders, plugins, training: everything around the records."""

import json
import shutil

import pytest

import vecdb


def test_init_makes_a_database_once(run, own_folder):
    assert "new.vecdb" in run("init", "new.vecdb").stderr
    assert (own_folder / "new.vecdb" / "vecdb.sqlite3").exists()
    assert "exists already" in run("init", "new.vecdb", status=1).stderr
    run("--db", "other.vecdb", "init")
    assert (own_folder / "other.vecdb").is_dir()
    assert "init notes.vecdb" in run("init", status=2).stderr


def test_collections_are_listed(run, notes, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert run("collections", "list").stdout.splitlines() == [
        "collection  records  space    vectors  embedder  dimension  metric",
        "notes             4  default        4  word2vec          3  cosine",
        "old               0  default        0                    2  cosine",
    ]


def test_create_show_and_delete(run, notes):
    options = ["--dimension", 4, "--metric", "l2", "--index", "hnsw", "--M", 8, "--ef", 50]
    run("collections", "create", "points", *options)
    shown = json.loads(run("collections", "show", "points", "--format", "json").stdout)
    space = shown["spaces"]["default"]
    assert (space["dimension"], space["metric"], space["index"]) == (4, "l2", "hnsw")
    assert space["index_options"] == {"M": 8, "ef_construction": 200, "ef": 50}
    assert "dimension" in run("collections", "show", "points").stdout
    assert "0 records" in run("collections", "delete", "points", input="n\n", status=1).stderr
    run("collections", "delete", "points", "--yes")
    assert "no collection" in run("collections", "show", "points", status=1).stderr


def test_options_of_an_embedder_have_the_types_of_its_config(run, notes, words_file):
    options = ["--option", "pooling=mean", "--option", "max_words=5"]
    run("collections", "create", "mean", "-e", f"word2vec:{words_file}", *options)
    options = json.loads(run("collections", "show", "mean", "--format", "json").stdout)["spaces"]["default"]["options"]
    assert (options["pooling"], options["max_words"]) == ("mean", 5)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["x"], 2, "--dimension"),
        (["x", "--dimension", "2", "--option", "a=1"], 2, "--embedder"),
        (["x", "--embedder", "word2vec:w", "--option", "a"], 2, "KEY=VALUE"),
        (["x", "--embedder", "word2vec:w", "--option", "poolin=mean"], 1, "did you mean 'pooling'"),
        (["x", "--embedder", "word2vec:w", "--option", "max_words=many"], 1, "must be a whole number"),
        (["x", "--embedder", "word2vek:w"], 1, "word2vec"),
        (["notes", "--dimension", "2"], 1, "exists already"),
        (["x", "--dimension", "2", "--metric", "euclid"], 2, "metric"),
    ],
)
def test_mistakes_in_making_a_collection(arguments, status, said, run, notes):
    assert said in run("collections", "create", *arguments, status=status).stderr


def test_check_finds_nothing_wrong(run, notes):
    result = run("check")
    assert result.stdout == ""
    assert "All is well: 2 collections, 4 records, 4 vectors." in result.stderr


def test_check_finds_damage_and_fix_mends_it(run, notes):
    import sqlite3

    with sqlite3.connect(notes / "vecdb.sqlite3") as connection:
        connection.execute("UPDATE vectors SET checksum = checksum + 1 WHERE label = (SELECT min(label) FROM vectors)")
    connection.close()
    found = json.loads(run("check", "--format", "json", status=1).stdout)
    assert "damaged" in found[0]["what"]
    assert found[0]["fixed"] is False
    assert "There are problems" in run("check", status=1).stderr
    result = run("check", "--fix", "--format", "json")
    assert all(problem["fixed"] for problem in json.loads(result.stdout))
    assert "Everything was mended" in result.stderr
    assert {problem["advice"] for problem in json.loads(result.stdout)} == {""}
    assert "run `vecdb check`" not in result.stderr


def test_backup_is_a_database_of_its_own(run, notes, own_folder):
    run("backup", "copy.vecdb")
    assert "exists" in run("--db", "notes.vecdb", "backup", "copy.vecdb", status=1).stderr
    shutil.rmtree(notes)
    assert run("count").stdout == "4\n"


def test_reindex_and_upgrade_of_a_current_database(run, notes):
    assert "'notes'" in run("reindex").stderr
    assert "'old'" not in run("reindex", "-c", "notes").stderr
    assert "is up to date" in run("upgrade", "notes.vecdb").stderr
    assert "is up to date" in run("upgrade").stderr


def test_info_tells_versions_and_states(run, notes):
    found = json.loads(run("info", "--format", "json").stdout)
    assert found["vecdb"] == vecdb.__version__
    assert {"python", "sqlite", "hnswlib", "numpy", "database", "durability", "size", "failures"} <= set(found)
    assert found["broken_plugins"] == {}
    assert [(row["collection"], row["index"], row["pending"]) for row in found["spaces"]] == [
        ("notes", "exact", 0),
        ("old", "auto", 0),
    ]
    assert "notes.vecdb" in run("info").stdout
    assert found["size"] >= (notes / "vecdb.sqlite3").stat().st_size
    assert found["size_of_indexes"] == 0


def test_info_tells_what_a_graph_does_not_hold_yet(run, notes):
    with vecdb.open(notes) as database:
        graph = database.create_collection("graph", dimension=2, index="hnsw")
        graph.add([None] * 3, vectors=[[1, 0], [0, 1], [1, 1]])
        graph.optimize()
    rows = json.loads(run("info", "--format", "json").stdout)["spaces"]
    assert [(row["index"], row["pending"]) for row in rows if row["collection"] == "graph"] == [("hnsw", 0)]


def test_info_without_a_database(run):
    assert "database" not in json.loads(run("info", "--format", "json").stdout)
    assert "no database at" in run("--db", "none.vecdb", "info", status=1).stderr


# --- embedders, plugins, training ---------------------------------------------------------------


def test_embedders_are_listed(run):
    rows = {row["embedder"]: row for row in json.loads(run("embedders", "list", "--format", "json").stdout)}
    assert {"word2vec", "glove", "fasttext", "mfcc", "spectrogram"} <= set(rows)
    assert rows["fasttext"]["trainable"] is True
    assert rows["mfcc"]["takes"] == ["audio"]
    assert "fasttext" in run("embedders", "list").stdout


def test_what_an_embedder_lacks_is_listed_with_what_installs_it(run, monkeypatch):
    monkeypatch.setattr(vecdb.EmbedderInfo, "missing", lambda info: ["torch"] if info.name == "bert" else [])
    rows = {row["embedder"]: row for row in json.loads(run("embedders", "list", "--format", "json").stdout)}
    assert (rows["bert"]["installed"], rows["bert"]["missing"]) == (False, ["torch"])
    assert rows["glove"]["installed"] is True
    assert "pip install 'vecdb-engine[text]'" in run("embedders", "list").stdout
    assert "pip install 'vecdb-engine[text]'" in run("embedders", "show", "bert").stdout


def test_with_its_model_an_embedders_dimension_and_fingerprint_are_shown(run, words_file):
    shown = json.loads(run("embedders", "show", f"word2vec:{words_file}", "--format", "json").stdout)
    other = run("embedders", "show", f"word2vec:{words_file}", "--option", "pooling=mean", "--format", "json").stdout
    assert shown["dimension"] == 3
    assert shown["fingerprint"].startswith("vf1:")
    assert shown["fingerprint"] != json.loads(other)["fingerprint"]
    assert "fingerprint" not in json.loads(run("embedders", "show", "word2vec", "--format", "json").stdout)


def test_an_embedder_that_its_defaults_do_not_load_is_shown_all_the_same(run):
    shown = json.loads(run("embedders", "show", "embedding-table", "--format", "json").stdout)
    assert "num_embeddings" in {option["option"] for option in shown["options"]}
    assert "fingerprint" not in shown
    run("embedders", "show", "embedding-table", "--option", "dtype=none", status=1)


def test_an_embedders_options_are_shown_with_their_defaults(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = json.loads(run("embedders", "show", "word2vec", "--format", "json").stdout)
    options = {option["option"]: option for option in shown["options"]}
    assert options["model"]["default"] == "(required)"
    assert options["pooling"]["choices"] == ["sif", "mean"]
    text = run("embedders", "show", "word2vec").stdout
    assert "(required)" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "did you mean" in run("embedders", "show", "word2vek", status=1).stderr


def test_check_of_an_embedder_reports_every_clause(run, words_file, own_folder):
    (own_folder / "items.txt").write_text("cat\nseven\nbread and cheese\na dog\n")
    result = run("embedders", "check", f"word2vec:{words_file}", "--items", "items.txt", "--format", "json")
    results = {row["check"]: row["result"] for row in json.loads(result.stdout)}
    assert (results["shape"], results["offline"], results["nearness"]) == ("passed", "passed", "skipped")
    assert "0 failed" in result.stderr


def test_check_of_an_embedder_that_fails_ends_with_1(run, words_file, own_folder):
    (own_folder / "items.txt").write_text("cat\nseven\nbread\nxyzzy\n")
    result = run("embedders", "check", f"word2vec:{words_file}", "--items", "items.txt", status=1)
    assert "FAILED" in result.stdout
    assert "Traceback" not in result.stdout


def test_made_up_items_that_do_not_fit_are_no_faults_of_the_embedder(run, words_file):
    result = run("embedders", "check", f"word2vec:{words_file}", status=2)
    assert "give --items FILE" in result.stderr
    assert result.stdout == ""


def test_plugins_are_listed(run):
    rows = {row["plugin"]: row for row in json.loads(run("plugins", "--format", "json").stdout)}
    assert rows["words"]["embedders"] == ["fasttext", "glove", "word2vec"]
    assert rows["words"]["error"] is None
    assert "words" in run("plugins").stdout


def test_train_on_files_and_on_a_collection(run, notes, own_folder):
    (own_folder / "texts").mkdir()
    for number in range(4):
        text = "the cat sat on a mat and the dog ate bread with cheese\n" * 3
        (own_folder / "texts" / f"{number}.txt").write_text(text)
    (own_folder / "out").mkdir()
    small = ["--option", "dimension=8", "--option", "buckets=100", "--option", "min_count=1"]
    report = json.loads(run("train", "fasttext", "texts", "-o", "out/m.bin", *small, "--format", "json").stdout)
    assert (report["texts"], report["dimension"]) == (4, 8)
    assert report["words"] == 4 * 3 * 13
    run("collections", "create", "trained", "--embedder", "fasttext:out/m.bin")
    run("train", "fasttext", "--collection", "notes", "-o", "n.bin", *small)
    assert (own_folder / "n.bin").exists()
    before = (own_folder / "n.bin").read_bytes()
    again = ["train", "fasttext", "texts", "-o", "n.bin", *small]
    assert "--force" in run(*again, status=1).stderr
    assert (own_folder / "n.bin").read_bytes() == before
    run(*again, "--force")
    assert (own_folder / "n.bin").read_bytes() != before


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["fasttext", "-o", "m.bin"], 2, "--collection"),
        (["fasttext", "."], 2, "--output"),
        (["fasttext", ".", "-o", "none/m.bin"], 2, "no folder 'none'"),
        (["mfcc", ".", "-o", "m.bin"], 1, "cannot be trained"),
        (["fasttext", ".", "-o", "m.bin", "--option", "epoch=1"], 1, "did you mean 'epochs'"),
        (["fasttext", ".", "-o", "m.bin"], 1, "too few"),
        (["fasttext", "none", "-o", "m.bin"], 2, "does not exist"),
    ],
)
def test_mistakes_in_training(arguments, status, said, run, own_folder):
    assert said in run("train", *arguments, status=status).stderr
    assert not (own_folder / "m.bin").exists()


def test_the_options_of_a_training_are_listed(run):
    options = [row["option"] for row in json.loads(run("train", "fasttext", "--options", "--format", "json").stdout)]
    assert {"dimension", "epochs", "min_count"} <= set(options)
