"""Passages are about one thing, not too long, and lose nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecdb.cli.passages import Passage, split_passages

MARKDOWN = """# Pets

Intro line.

## Cats

Cats purr.

Cats sleep.

```python
# not a heading

x = 1
```

Dogs
----

Dogs bark.

---

| a | b |
|---|---|
| 1 | 2 |
"""


def test_markdown_is_cut_at_its_headings():
    assert split_passages(MARKDOWN, markdown=True) == [
        Passage("# Pets\n\nIntro line.", 1, "Pets"),
        Passage(
            "## Cats\n\nCats purr.\n\nCats sleep.\n\n```python\n# not a heading\n\nx = 1\n```", 5, "Pets › Cats"
        ),
        Passage("Dogs\n----\n\nDogs bark.\n\n---\n\n| a | b |\n|---|---|\n| 1 | 2 |", 17, "Pets › Dogs"),
    ]


def test_a_heading_goes_with_what_follows_it():
    assert [p.text for p in split_passages("# A\n\n## B\n\ntext", markdown=True)] == ["# A\n\n## B\n\ntext"]


def test_a_heading_behind_all_text_is_kept():
    assert [p.text for p in split_passages("text\n\n# End", markdown=True)] == ["text", "# End"]


def test_paragraphs_are_put_together_up_to_the_size():
    text = "\n\n".join(["a" * 400, "b" * 400, "c" * 400])
    assert [(len(p.text), p.line) for p in split_passages(text)] == [(802, 1), (400, 5)]


def test_a_long_paragraph_is_cut_between_sentences():
    sentence = "The quick brown fox jumps over the lazy dog near the river. "
    passages = split_passages(sentence * 40)
    assert len(passages) == 3
    assert all(p.text.endswith("river.") and len(p.text) <= 1000 for p in passages)


def test_without_sentences_it_is_cut_between_words_and_without_words_anywhere():
    words = split_passages("word " * 500)
    assert all(set(p.text.split()) == {"word"} for p in words)
    assert [len(p.text) for p in split_passages("x" * 2500)] == [1000, 1000, 500]
    chinese = split_passages("这是一个句子。" * 300)
    assert all(p.text.endswith("。") for p in chinese)


def test_lines_are_those_of_the_text():
    text = "\n\n\nfirst\n\n" + "second. " * 200 + "\n\nlast"
    lines = text.splitlines()
    for passage in split_passages(text):
        assert lines[passage.line - 1].startswith(passage.text.split()[0][:5])


@pytest.mark.parametrize("text", ["", "\n \n", "---\n\n***\n", "```\n```"])
def test_what_holds_no_letter_makes_no_passage(text):
    assert split_passages(text, markdown=True) == []


@given(st.text(alphabet="ab .\n#-=`日本。!é\t", max_size=300), st.booleans(), st.integers(10, 60))
def test_every_letter_is_in_one_passage_in_order(text, markdown, size):
    passages = split_passages(text, markdown=markdown, size=size)
    letters = "".join(char for passage in passages for char in passage.text if char.isalnum())
    assert letters == "".join(filter(str.isalnum, text))
    assert all(0 < len(passage.text) <= size for passage in passages)
    assert [p.line for p in passages] == sorted(p.line for p in passages)
