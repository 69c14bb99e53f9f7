"""What `check` finds: a problem, and what tells whether it is still there after mending."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

RESTORE = "restore a backup"
FIX = "run `vecdb check --fix`"
ADD_AGAIN = "add the record again, with its vector if it brought one, or delete it"
_LISTED = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of inconsistency in one place.

    Attributes:
        where, kind: what and where it is; the same after mending means that it was not mended.
        detail: how many, and which is the first.
        advice: what to do.
    """

    where: str
    kind: str
    detail: str = ""
    advice: str = RESTORE


def counted(where: str, kind: str, found: Sequence[Any], advice: str) -> list[Finding]:
    """One finding for many; none for nothing."""
    if not found:
        return []
    return [Finding(where, kind, f" ({len(found):,} found, first: {found[0]!r:.60})", advice)]


def first_ones(findings: Iterable[Finding]) -> list[Finding]:
    """The first ones of each place, and how many more there are."""
    kept: list[Finding] = []
    more: dict[tuple[str, str], int] = {}
    seen: dict[tuple[str, str], int] = {}
    for finding in findings:
        place = finding.where, finding.advice
        seen[place] = seen.get(place, 0) + 1
        if seen[place] <= _LISTED:
            kept.append(finding)
        else:
            more[place] = more.get(place, 0) + 1
    return kept + [Finding(where, f"and {count:,} more of this", "", advice) for (where, advice), count in more.items()]
