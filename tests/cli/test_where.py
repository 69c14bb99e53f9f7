"""Filters as they are typed."""

import pytest

from vecdb.cli.where import parse_where


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("year=2020", {"year": {"$eq": 2020}}),
        ("year==2020", {"year": {"$eq": 2020}}),
        ("year>=2020", {"year": {"$gte": 2020}}),
        ("year <= 2020.5", {"year": {"$lte": 2020.5}}),
        ("year>1", {"year": {"$gt": 1}}),
        ("year<1", {"year": {"$lt": 1}}),
        ("kind!=note", {"kind": {"$ne": "note"}}),
        ("title~cat", {"title": {"$contains": "cat"}}),
        ("done=true", {"done": {"$eq": True}}),
        ("gone=null", {"gone": {"$eq": None}}),
        ('year="2020"', {"year": {"$eq": "2020"}}),
        ("zip=01234", {"zip": {"$eq": "01234"}}),
        ("formula=a=b", {"formula": {"$eq": "a=b"}}),
        ("author.name=Ada Lovelace", {"author.name": {"$eq": "Ada Lovelace"}}),
        ('kind=["a","b"]', {"kind": {"$in": ["a", "b"]}}),
        ('kind!=["a"]', {"kind": {"$nin": ["a"]}}),
        ("empty=", {"empty": {"$eq": ""}}),
        ("x=NaN", {"x": {"$eq": "NaN"}}),
        ('{"a": {"$exists": false}}', {"a": {"$exists": False}}),
    ],
)
def test_one_condition(typed, meant):
    assert parse_where([typed]) == meant


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("year=>2020", r"=> is no operator; write >=, or quote the text: year=\">2020\""),
        ("year=<2020", "=< is no operator; write <="),
        ("[1]", "JSON object"),
    ],
)
def test_a_mistyped_condition_says_how_to_write_it(typed, said):
    with pytest.raises(ValueError, match=said):
        parse_where([typed])


def test_a_quoted_text_may_begin_like_an_operator():
    assert parse_where(['note=">2"']) == {"note": {"$eq": ">2"}}


def test_several_conditions_are_all_meant_also_on_one_key():
    assert parse_where(["y>=1", "y<3"]) == {"$and": [{"y": {"$gte": 1}}, {"y": {"$lt": 3}}]}
    assert parse_where([]) is None


@pytest.mark.parametrize("typed", ["year", "{year: 2020}", "", "=3", 'kind>["a"]', "{}x"])
def test_what_is_no_filter(typed):
    with pytest.raises(ValueError, match=r"\.$"):
        parse_where([typed])
