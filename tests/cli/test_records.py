"""search, get, delete, count, add, failures: records by the command line."""

import csv
import io
import json
import shlex

import pytest

import vecdb
from tests.cli.conftest import sine


def hits(result):
    return [hit["id"] for hit in json.loads(result.stdout)]


# --- search -------------------------------------------------------------------------------------


def test_the_table_of_a_search(run, notes, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    lines = run("search", "kitten", "-k", "2").stdout.splitlines()
    assert lines[0].split() == ["rank", "score", "id", "content", "metadata"]
    assert lines[1].startswith("   1  0.999  a   the cat and the kitten  ")
    assert lines[2].startswith("   2  0.9")
    assert all(len(line) <= 60 for line in lines)


def test_json_has_everything(run, notes):
    found = json.loads(run("search", "kitten", "-k", "1", "--format", "json").stdout)
    assert list(found[0]) == ["rank", "score", "id", "content", "metadata", "distance"]
    assert found[0]["content"] == "the cat and the kitten"
    assert found[0]["score"] == pytest.approx(1 - found[0]["distance"])


def test_json_lines_and_csv(run, notes):
    lines = run("search", "kitten", "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line)["rank"] for line in lines] == [1, 2, 3, 4]
    rows = list(csv.DictReader(io.StringIO(run("search", "kitten", "--format", "csv").stdout)))
    assert rows[0]["id"] == "a"
    assert float(rows[0]["distance"]) == pytest.approx(1 - float(rows[0]["score"]))
    assert json.loads(rows[0]["metadata"]) == {"year": 2020, "kind": "note"}


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (["year>=2021"], {"b", "d"}),
        (["year>=2020", "kind=note"], {"a", "b"}),
        (['{"$not": {"kind": "note"}}'], {"c", "d"}),
        (['kind=["letter","recipe"]'], {"c", "d"}),
        (["kind=nothing"], set()),
    ],
)
def test_filters(where, found, run, notes):
    options = [option for one in where for option in ("--where", one)]
    assert set(hits(run("search", "cat", *options, "--format", "json"))) == found


def test_an_empty_result_says_why(run, notes):
    assert "Nothing fits the filter" in run("search", "cat", "-w", "year=1").stderr


@pytest.mark.parametrize("where", ["year", "{", "[1]"])
def test_a_filter_that_is_none_is_wrong_usage(where, run, notes):
    assert "--where" in run("search", "cat", "--where", where, status=2).stderr


def test_a_filter_of_the_wrong_kind_is_an_error(run, notes):
    assert "$foo" in run("search", "cat", "--where", '{"a": {"$foo": 1}}', status=1).stderr


def test_explain_tells_the_plan(run, notes):
    plan = json.loads(run("search", "cat", "--explain", "--where", "kind=note", "--format", "json").stdout)
    assert plan["strategy"] == "exact"
    assert (plan["allowed"], plan["hits"]) == (2, 2)
    assert "reason" in run("search", "cat", "--explain").stdout


def test_a_text_file_is_a_query(run, notes, own_folder):
    (own_folder / "query.txt").write_text("kitten")
    assert hits(run("search", "--file", "query.txt", "-k", "1", "--format", "json")) == ["a"]


def test_a_sound_is_a_query_where_sounds_are(run, notes, own_folder):
    pytest.importorskip("soundfile")
    files = [sine(own_folder / f"{hertz}.wav", hertz) for hertz in (200, 1000, 3000)]
    assert "takes the file 200.wav" in run("search", "--file", files[0], status=1).stderr
    with vecdb.open(notes) as database:
        database.create_collection("sounds", embedder="mfcc").add(files, ids=["low", "mid", "high"])
    assert hits(run("search", "--file", files[2], "--format", "json"))[0] == "high"
    assert hits(run("search", "kitten", "--format", "json"))[0] == "a"


def test_of_several_collections_the_first_is_searched_and_the_others_are_named(run, notes, words_file):
    run("collections", "create", "more", "--embedder", f"word2vec:{words_file}")
    result = run("search", "kitten", "-k", "1", "--format", "json")
    assert hits(result) == ["a"]
    assert "more" in result.stderr
    assert hits(run("search", "kitten", "-c", "more", "--format", "json")) == []


def test_a_space_or_a_plugin_that_is_not_there_is_named(run, notes, monkeypatch):
    assert "no space 'nope'" in run("search", "cat", "--space", "nope", status=1).stderr
    assert "no space 'nope'" in run("search", "cat", "-c", "notes", "--space", "nope", status=1).stderr

    def missing(_plugins, name):
        raise vecdb.EmbedderNotFoundError(f"no plugin offers {name!r}; install one")

    monkeypatch.setattr(vecdb.Plugins, "embedder", missing)
    for where in ([], ["-c", "notes"]):
        assert "no plugin offers 'word2vec'" in run("search", "cat", *where, status=1).stderr
    for command in (["collections", "list"], ["info"]):
        assert "word2vec (not installed)" in run(*command).stdout
    assert json.loads(run("collections", "list", "--format", "json").stdout)[0]["embedder"] == "word2vec"


def test_metadata_begin_with_the_path_and_leave_out_what_is_empty(run, notes):
    add(run, '{"id": "e", "content": "kitten", "heading": "", "line": 1, "path": "x.md"}\n')
    table = run("search", "kitten", "-k", "1").stdout
    assert "path=x.md line=1" in table
    assert "heading=" not in table


@pytest.mark.parametrize("arguments", [[], ["cat", "--file", "notes.txt"], ["--file", "none.txt"], ["cat", "-k", "0"]])
def test_wrong_usage_of_search(arguments, run, notes, own_folder):
    (own_folder / "notes.txt").write_text("cat")
    run("search", *arguments, status=2)


def test_a_query_without_a_known_word(run, notes):
    assert "none of the words" in run("search", "xyzzy", status=1).stderr


# --- get, count, delete -------------------------------------------------------------------------


def test_get_shows_a_record_whole(run, notes):
    assert run("get", "b").stdout.splitlines() == [
        "id       b",
        "  year   2021",
        "  kind   note",
        "content  seven is a number",
    ]
    found = json.loads(run("get", "c", "a", "--vectors", "--format", "json").stdout)
    assert [one["id"] for one in found] == ["c", "a"]
    assert len(found[0]["vectors"]) == 3


def test_get_of_a_missing_record_shows_the_others(run, notes):
    result = run("get", "a", "nix", "--format", "jsonl", status=1)
    assert json.loads(result.stdout)["id"] == "a"
    assert "'nix'" in result.stderr


def test_count(run, notes):
    assert run("count").stdout == "4\n"
    assert run("count", "--where", "kind=note").stdout == "2\n"
    assert run("count", "-c", "old").stdout == "0\n"
    assert json.loads(run("count", "--format", "json").stdout) == {"count": 4}
    assert run("count", "--format", "csv").stdout == "count\n4\n"


def test_delete_asks_and_tells(run, notes):
    result = run("delete", "a", "-c", "notes", input="n\n", status=1)
    assert "Delete the record 'a' from 'notes'?" in result.stderr
    assert run("count").stdout == "4\n"
    assert "Deleted 1" in run("delete", "a", "-c", "notes", input="y\n").stderr
    assert "2 records" in run("delete", "--where", "year>2020", "-c", "notes", input="y\n").stderr
    assert run("count").stdout == "1\n"


def test_delete_of_nothing_does_not_ask(run, notes):
    for yes in ([], ["--yes"]):
        assert run("delete", "nix", "-c", "notes", *yes, status=1).stderr == "Nothing matches.\n"
        assert run("delete", "-w", "year=1", "-c", "notes", *yes).stderr == "Nothing matches.\n"
    add(run, '{"id": "e", "content": "xyzzy"}\n', "--on-error", "quarantine")
    run("delete", "e", "-c", "notes", "--yes")  # it was only set aside
    assert "no failure" in run("failures", "list").stderr


def test_delete_needs_ids_or_a_filter_and_a_collection(run, notes):
    assert "--where" in run("delete", "-c", "notes", status=2).stderr
    assert "notes, old" in run("delete", "a", "--yes", status=2).stderr


# --- add and failures ---------------------------------------------------------------------------


def add(run, text, *arguments, status=0):
    return run("add", "-c", "notes", *arguments, "--format", "json", input=text, status=status)


def test_add_takes_lines(run, notes):
    report = json.loads(add(run, "a cat\na dog\n").stdout)
    assert (report["added"], report["failed"]) == (2, 0)
    assert run("count").stdout == "6\n"


def test_add_knows_json_lines_by_their_looks_and_replaces(run, notes):
    text = '{"id": "a", "content": "soup", "year": 1990}\n{"id": "e", "content": "cheese"}\n'
    result = add(run, text)
    assert "JSON lines" in result.stderr
    report = json.loads(result.stdout)
    assert (report["added"], report["updated"]) == (1, 1)
    assert json.loads(add(run, text).stdout)["unchanged"] == 2
    assert json.loads(run("get", "a", "--format", "jsonl").stdout)["metadata"] == {"year": 1990}


def test_add_takes_a_csv_file(run, notes, own_folder):
    (own_folder / "books.csv").write_text("\ufeffid,content,year\nx,the dog,1950\n", "utf-8")
    add(run, None, "books.csv")
    assert json.loads(run("get", "x", "--format", "jsonl").stdout)["metadata"] == {"year": 1950}


def test_add_refuses_a_csv_with_two_columns_of_one_name(run, notes):
    assert "two columns 'year'" in add(run, "text,year,year\na cat,1,2\n", "--input", "csv", status=2).stderr
    assert run("count").stdout == "4\n"


def test_add_takes_a_json_list(run, notes, own_folder):
    (own_folder / "list.json").write_text('[{"id": "x", "content": "the dog"},\n {"id": "y", "content": "soup"}]')
    assert json.loads(add(run, None, "list.json").stdout)["added"] == 2
    (own_folder / "list.json").write_text("[1]")
    assert "item 1: a JSON int, not an object" in add(run, None, "list.json", status=1).stderr


def test_the_example_of_add_works_in_an_empty_folder(run):
    from vecdb.cli.commands.add import add as command

    demo, first, second = command.example.splitlines()
    run(*shlex.split(demo)[1:])
    for line, text in ((first, "The cat sat on the mat.\n"), (second, "id,content,year\nx,The dog barks.,1950\n")):
        run(*shlex.split(line.rpartition(" | ")[2])[1:], input=text)
    assert run("count", "-c", "notes").stdout == "2\n"


def test_add_takes_vectors(run, notes):
    run("add", "-c", "old", input='{"id": "p", "vector": [3, 4]}\n')
    [found] = json.loads(run("get", "p", "--vectors", "--format", "json").stdout)
    assert found["vectors"] == [pytest.approx(0.6), pytest.approx(0.8)]


def test_at_a_bad_line_add_stops_or_goes_on(run, notes):
    text = '{"id": "e", "content": "cheese"}\n{"id": "f", "content"\n{"id": "g", "content": "soup"}\n'
    assert "line 2: not JSON" in add(run, text, status=1).stderr
    result = add(run, text, "--on-error", "quarantine")
    assert "Line 2 is left out" in result.stderr
    report = json.loads(result.stdout)
    assert (report["added"], report["unreadable"]) == (2, 1)


def test_input_that_is_not_utf_8(run, notes):
    assert "not UTF-8" in add(run, b"caf\xe9\n", status=1).stderr


def test_what_cannot_be_embedded_is_set_aside_listed_and_tried_again(run, notes):
    text = '{"id": "e", "content": "xyzzy"}\n{"id": "f", "content": "cheese"}\n'
    assert "xyzzy" in add(run, text, status=1).stderr
    assert json.loads(add(run, text, "--on-error", "quarantine").stdout)["failed"] == 1
    [failure] = json.loads(run("failures", "list", "--format", "json").stdout)
    assert (failure["collection"], failure["id"], failure["content"]) == ("notes", "e", "xyzzy")
    assert "xyzzy" in run("failures", "list").stdout
    assert "0 records went in, 1 remain" in run("failures", "retry").stderr
    add(run, '{"id": "e", "content": "soup"}\n')
    assert "no failure" in run("failures", "list").stderr
    assert json.loads(run("failures", "list", "--format", "json").stdout) == []


def test_add_makes_a_collection_if_it_is_told_an_embedder(run, own_folder, words_file):
    run("--db", "new.vecdb", "add", "--embedder", f"word2vec:{words_file}", "--option", "pooling=mean", input="a cat\n")
    [row] = json.loads(run("collections", "list", "--format", "json").stdout)
    assert (row["collection"], row["records"]) == ("records", 1)


def test_add_without_a_collection_says_how_to_make_one(run):
    run("init", "new.vecdb")
    assert "collections create" in run("add", input="a\n", status=1).stderr
    assert "There is" not in run("--db", "none.vecdb", "add", input="a\n", status=1).stderr
