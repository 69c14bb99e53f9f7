"""Cutting a text into words, without a vocabulary (for training) and with one (for looking words up).

A text is normalised (Unicode NFC, typographic apostrophes made straight) and cut at white space. Each
chunk is then looked up, the longest reading first:

1. the chunk as it stands ("c++", "U.S."), then without punctuation at its ends;
2. its parts between punctuation and symbols ("tar.gz" -> tar, gz; "read_csv" -> read, csv), where an
   apostrophe within a word belongs to it ("don't", or else do + n't);
3. the parts of a mixed-case identifier ("readCSV" -> read, CSV);
4. for scripts without spaces (Chinese, Japanese, Thai, ...), the longest known words from the left.

A case is tried as written, then lower, capitalised and upper; for a model whose words are all in lower
case, lower only. A number is also tried as "####" where the model writes numbers so (GoogleNews does).
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Mapping

_SEPARATOR_CATEGORIES = "PSZC"  # punctuation, symbols, separators, control: what stands between words
_LONE_APOSTROPHE = re.compile(r"(?<!\w)'|'(?!\w)")
_UNSPACED = re.compile(  # Thai and Lao, Burmese, Khmer, kana, Han
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_LONGEST_UNSPACED = 12
_CASE_SAMPLE = 10_000


class _Separators(dict[int, str]):
    """A table for `str.translate`: a space for whatever separates words. Filled as characters are met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        separates = unicodedata.category(character)[0] in _SEPARATOR_CATEGORIES and character != "'"
        self[code] = " " if separates else character
        return self[code]


_SEPARATORS = _Separators()


def chunks(text: str) -> list[str]:
    """The normalised text, cut at white space."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text).replace("’", "'")
    return text.split()


def parts(chunk: str) -> list[str]:
    """The parts of a chunk between punctuation and symbols."""
    spaced = chunk.translate(_SEPARATORS)
    return (_LONE_APOSTROPHE.sub(" ", spaced) if "'" in spaced else spaced).split()


def split_identifier(part: str) -> list[str]:
    """The words of a mixed-case identifier: "readCSVFile" gives read, CSV, File."""
    if part.islower() or part.isupper() or part.istitle():
        return [part]
    cuts = [0]
    for position in range(1, len(part)):
        before, here = part[position - 1], part[position]
        after = part[position + 1 : position + 2]
        if here.isupper() and (not before.isupper() or after.islower()):
            cuts.append(position)
    return [part[start:end] for start, end in itertools.pairwise([*cuts, len(part)])]


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, as a model is trained on them."""
    return [word.lower() for chunk in chunks(text) for part in parts(chunk) for word in split_identifier(part)]


class Lookup:
    """Finds the words of a vocabulary in a text.

    Args:
        index: row of each word.
        lowercase: "auto", "always" or "never".
    """

    def __init__(self, index: Mapping[str, int], lowercase: str) -> None:
        self._index = index
        sample = itertools.islice(index, _CASE_SAMPLE)
        self._lower = lowercase == "always" or (lowercase == "auto" and all(word == word.lower() for word in sample))
        self._exact = lowercase == "never"
        self._masks_digits = any("#" * length in index for length in range(2, 9))  # a lone "#" is just a sign

    def spelling(self, word: str) -> str:
        """The form of an unknown word that fits the model."""
        return word.lower() if self._lower else word

    def find(self, word: str) -> str | None:
        """The vocabulary's form of `word`, or None."""
        for form in self._forms(word):
            if form in self._index:
                return form
        return None

    def _forms(self, word: str) -> tuple[str, ...]:
        if self._lower:
            return (word.lower(),)
        if self._exact:
            return (word,)
        return (word, word.lower(), word.capitalize(), word.upper())

    def words(self, chunk: str) -> Iterator[str]:
        """The words of a chunk: known ones in the vocabulary's form, others as `spelling` has them."""
        found = self.find(chunk)
        if not any(map(str.isalnum, chunk)):
            # a smiley is a word where the model knows it; punctuation never says what a text is about
            if found is not None and any(unicodedata.category(character) == "So" for character in chunk):
                yield found
            return
        if found is None:
            found = self.find(_strip(chunk))
        if found is not None:
            yield found
            return
        for part in parts(chunk):
            yield from self._part(part)

    def _part(self, part: str) -> Iterator[str]:
        if (found := self.find(part)) is not None:
            yield found
        elif (pair := self._contraction(part)) is not None:
            yield from pair
        elif part.isdigit() and self._masks_digits:
            yield self.find("#" * len(part)) or part
        elif _UNSPACED.search(part):
            yield from self._unspaced(part)
        else:
            for word in split_identifier(part):
                yield self.find(word) or self.spelling(word)

    def _contraction(self, part: str) -> list[str] | None:
        """Both halves as the Penn Treebank cuts them ("do" "n't", "dog" "'s"), if known, else at the apostrophe."""
        cut = part.find("'")
        if cut <= 0:
            return None
        if part[cut - 1 : cut + 2].lower() == "n't":
            cut -= 1
        halves = [self.find(part[:cut]), self.find(part[cut:])]
        if None in halves:
            cut = part.find("'")
            halves = [self.find(part[:cut]), self.find(part[cut + 1 :])]
        known = [half for half in halves if half is not None]
        return known or None

    def _unspaced(self, part: str) -> Iterator[str]:
        """Greedy longest match; what no word begins with is passed on in one piece."""
        unknown = start = 0
        while start < len(part):
            for end in range(min(len(part), start + _LONGEST_UNSPACED), start, -1):
                if part[start:end] in self._index:
                    if unknown < start:
                        yield self.spelling(part[unknown:start])
                    yield part[start:end]
                    unknown = end
                    break
            else:
                end = start + 1
            start = end
        if unknown < len(part):
            yield self.spelling(part[unknown:])


def _strip(chunk: str) -> str:
    """The chunk without what is neither letter nor digit at its ends."""
    start, end = 0, len(chunk)
    while start < end and _separates(chunk[start]):
        start += 1
    while start < end and _separates(chunk[end - 1]):
        end -= 1
    return chunk[start:end]


def _separates(character: str) -> bool:
    return character == "'" or _SEPARATORS[ord(character)] == " "
