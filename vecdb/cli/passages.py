"""Cutting a text into passages that are about one thing each: by headings, paragraphs and sentences."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass

PASSAGE_CHARACTERS = 1_000

_HEADING = re.compile(r" {0,3}(#{1,6})(?=[ \t]|$)")
_UNDERLINE = re.compile(r" {0,3}(=+|-{3,})[ \t]*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+|(?<=[。！？])")


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a text.

    Attributes:
        text: the piece, without outer white space.
        line: the number of its first line, from 1.
        heading: the headings that it stands under, joined by " › ", or "".
    """

    text: str
    line: int
    heading: str = ""


@dataclass(frozen=True, slots=True)
class _Block:
    """A paragraph, a heading or a fenced block: what is not cut if it can be helped."""

    text: str
    line: int
    heading: str
    is_heading: bool = False


def split_passages(text: str, *, markdown: bool = False, size: int = PASSAGE_CHARACTERS) -> list[Passage]:
    """Cut a text into passages of at most `size` characters; every letter and digit is in one of them.

    Paragraphs (separated by empty lines) are put together up to `size` and never across a Markdown
    heading; one that is longer is cut between sentences, else between words, else anywhere. A heading goes
    with what follows it.
    """
    blocks = _markdown_blocks(text) if markdown else _paragraphs(text.splitlines(), 1, "")
    passages: list[Passage] = []
    group: list[_Block] = []
    for block in blocks:
        if group and _begins_anew(group, block, size):
            passages.extend(_passages(group, size))
            group = []
        group.append(block)
    passages.extend(_passages(group, size))
    return passages


def _begins_anew(group: list[_Block], block: _Block, size: int) -> bool:
    if group[-1].is_heading:  # so are all before it: a heading begins anew behind anything else
        return False
    if block.is_heading or block.heading != group[-1].heading:
        return True
    return sum(len(one.text) + 2 for one in group) + len(block.text) > size


def _passages(group: list[_Block], size: int) -> Iterator[Passage]:
    """The passages of some blocks; what has no letter or digit (a ruled line) is none."""
    yield from (passage for passage in _pieces(group, size) if any(map(str.isalnum, passage.text)))


def _pieces(group: list[_Block], size: int) -> Iterator[Passage]:
    if not group:
        return
    heading = group[-1].heading
    whole = "\n\n".join(block.text for block in group)
    if len(whole) <= size:
        yield Passage(whole, group[0].line, heading)
        return
    starts = [0]
    for block in group:
        starts.append(starts[-1] + len(block.text) + 2)
    position = 0
    for piece in _cut(whole, size):
        begin = position + len(piece) - len(piece.lstrip())
        position += len(piece)
        if begin < position:
            number = bisect.bisect_right(starts, begin) - 1
            within = whole[starts[number] : begin].count("\n")
            yield Passage(piece.strip(), group[number].line + within, heading)


def _cut(text: str, size: int) -> Iterator[str]:
    """Pieces of at most `size` characters, which add up to the text."""
    start = 0
    while len(text) - start > size:
        # A piece that would be short is better filled up with the beginning of the next sentence's words.
        earliest = start + size // 3
        ends = [match.end() for match in _SENTENCE_END.finditer(text, start, start + size)]
        end = next((end for end in reversed(ends) if end > earliest), 0)
        if not end:
            space = max(text.rfind(" ", earliest, start + size), text.rfind("\n", earliest, start + size))
            end = space + 1 if space >= 0 else start + size
        yield text[start:end]
        start = end
    yield text[start:]


def _paragraphs(lines: list[str], first: int, heading: str) -> Iterator[_Block]:
    """Runs of lines that are not empty; `first` is the number of the first line."""
    run: list[str] = []
    for number, line in enumerate([*lines, ""], first):
        if line.strip():
            run.append(line)
        elif run:
            yield _Block("\n".join(run).strip(), number - len(run), heading)
            run = []


def _markdown_blocks(text: str) -> Iterator[_Block]:
    """Headings, fenced blocks and paragraphs of a Markdown text."""
    lines = text.splitlines()
    path: list[tuple[int, str]] = []
    begin = 0

    def title() -> str:
        return " › ".join(name for _, name in path)

    index = 0
    while index < len(lines):
        line = lines[index]
        found = _heading(lines, index)
        fence = _FENCE.match(line)
        if found is not None:
            yield from _paragraphs(lines[begin:index], begin + 1, title())
            level, name, taken = found
            path = [(other, known) for other, known in path if other < level] + [(level, name)]
            yield _Block("\n".join(lines[index : index + taken]).strip(), index + 1, title(), is_heading=True)
            index += taken
            begin = index
        elif fence:
            yield from _paragraphs(lines[begin:index], begin + 1, title())
            end = _fence_end(lines, index, fence[1])
            yield _Block("\n".join(lines[index:end]), index + 1, title())
            index = begin = end
        else:
            index += 1
    yield from _paragraphs(lines[begin:], begin + 1, title())


def _heading(lines: list[str], index: int) -> tuple[int, str, int] | None:
    """Level, text and number of lines of the heading that begins here, if one does."""
    line = lines[index]
    match = _HEADING.match(line)
    if match:
        name = _without_closing(line[match.end() :].strip())
        return (len(match[1]), name, 1) if name else None
    following = lines[index + 1] if index + 1 < len(lines) else ""
    underline = _UNDERLINE.fullmatch(following)
    is_paragraph_of_one_line = bool(line.strip()) and (index == 0 or not lines[index - 1].strip())
    starts_like_text = line.lstrip()[:1] not in ("-", "*", "+", ">", "|", "`", "~")
    if underline and is_paragraph_of_one_line and starts_like_text and not line.startswith("    "):
        return (1 if underline[1][0] == "=" else 2), line.strip(), 2
    return None


def _without_closing(name: str) -> str:
    """A heading may end in a run of "#"; found without a regular expression, which would be slow on long lines."""
    bare = name.rstrip("#")
    return bare.rstrip() if bare[-1:] in (" ", "\t") else name


def _fence_end(lines: list[str], index: int, mark: str) -> int:
    """The index behind the line that closes a fence, or behind the last line."""
    for later in range(index + 1, len(lines)):
        stripped = lines[later].strip()
        if stripped.startswith(mark) and not stripped.strip(mark[0]):
            return later + 1
    return len(lines)
