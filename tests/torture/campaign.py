"""What a campaign is: it attacks the promises for a number of rounds, and counts what it saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a campaign.

    Attributes:
        count: how much of it, in the campaign's unit (rounds, or seconds).
        seed: of everything random; the same seed does the same.
        scratch: an empty folder to work in, on the fastest disk there is.
        say: tells a person how it is going, in a line.
        most_failures: after so many a campaign may give up: more of them tell nothing new.
    """

    count: int
    seed: int
    scratch: Path
    say: Callable[[str], None] = print
    most_failures: int = 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run saw.

    Attributes:
        counts: what was done and found, by a name in words ("kills", "acknowledged", "lost").
        failures: broken promises; each text has what is needed to see it again.
        skipped: why it cannot run here, or "".
    """

    counts: Mapping[str, float] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Campaign:
    """A kind of attack.

    Attributes:
        name: on the command line.
        summary: what it does, in a sentence.
        unit: what `count` counts: "kills", "states", "seconds".
        short, long: the count in CI, and in a thorough run.
        run: does it.
    """

    name: str
    summary: str
    unit: str
    short: int
    long: int
    run: Callable[[Run], Outcome]
