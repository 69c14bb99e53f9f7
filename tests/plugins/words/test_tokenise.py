"""Which words a text is made of."""

from __future__ import annotations

import unicodedata

import pytest

from vecdb_words.tokenise import Lookup, chunks, split_identifier, words_of


def found(text: str, vocabulary: str | list[str], lowercase: str = "auto") -> list[str]:
    words = vocabulary.split() if isinstance(vocabulary, str) else vocabulary
    lookup = Lookup({word: row for row, word in enumerate(words)}, lowercase)
    return [word for chunk in chunks(text) for word in lookup.words(chunk)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The cat, the HAT.", ["the", "cat", "the", "hat"]),
        ("read_csv readCSV readCSVFile", ["read", "csv", "read", "csv", "read", "csv", "file"]),
        ("os.path.join(a, b)", ["os", "path", "join", "a", "b"]),
        ("don’t 'quoted' rock'n'roll", ["don't", "quoted", "rock'n'roll"]),
        ("naïve Ångström हिन्दी", ["naïve", "ångström", "हिन्दी"]),
        ("3.14 base64 x86-64", ["3", "14", "base64", "x86", "64"]),
        ("물을 마시다", ["물을", "마시다"]),
        ("... -- !", []),
    ],
)
def test_words_for_training(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_composed_and_decomposed_text_are_the_same() -> None:
    """File names of macOS hold Hangul and accents in pieces."""
    text = "벡터 검색 café"
    assert words_of(unicodedata.normalize("NFD", text)) == words_of(text)


@pytest.mark.parametrize(
    ("identifier", "parts"),
    [
        ("HTTPServer", ["HTTP", "Server"]),
        ("getHTTPResponse", ["get", "HTTP", "Response"]),
        ("lower", ["lower"]),
        ("UPPER", ["UPPER"]),
        ("Title", ["Title"]),
        ("utf8Decode", ["utf8", "Decode"]),
    ],
)
def test_identifiers(identifier: str, parts: list[str]) -> None:
    assert split_identifier(identifier) == parts


def test_the_longest_reading_wins() -> None:
    assert found("C++ and U.S. (e-mail)", "c++ and u.s. e-mail") == ["c++", "and", "u.s.", "e-mail"]
    assert found("e-mail, C++", "e mail c") == ["e", "mail", "c"]
    assert found("tarfile tar.gz", "tarfile tar gz") == ["tarfile", "tar", "gz"]


def test_cases() -> None:
    cased = "Paris apple Apple NASA the"
    assert found("paris Apple APPLE nasa The", cased) == ["Paris", "Apple", "apple", "NASA", "the"]
    assert found("paris Apple THE", cased, "never") == ["paris", "Apple", "THE"]
    assert found("PARIS THE", "paris the") == ["paris", "the"]
    assert found("Apple", cased, "always") == ["apple"]


def test_contractions_and_numbers() -> None:
    assert found("don't dog's", "do n't dog 's") == ["do", "n't", "dog", "'s"]
    assert found("don't", "don't do") == ["don't"]
    assert found("l'homme", "l homme") == ["l", "homme"]
    assert found("in 2024", "in ####") == ["in", "####"]


def test_scripts_without_spaces() -> None:
    assert found("我喜欢北京大学", "我 喜欢 北京 北京大学 大学") == ["我", "喜欢", "北京大学"]
    assert found("我𠀀喜欢", "我 喜欢") == ["我", "𠀀", "喜欢"]


def test_smileys_count_and_punctuation_does_not() -> None:
    assert found("good 😀 !", "good 😀 !") == ["good", "😀"]
    assert found("😀 $ +", "good") == []


def test_a_lone_hash_is_no_number() -> None:
    """Only a model that knows longer runs of it writes numbers so; GloVe knows "#" as a sign."""
    assert found("2 apples, 7", "# apples") == ["2", "apples", "7"]
    assert found("2 apples, 10", "# ## apples") == ["#", "apples", "##"]
