"""Progress on a terminal: a bar, how fast, and how long it will take."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType

_EVERY = 0.1
_BAR = 20


class ProgressBar:
    """A line on stderr that is drawn anew as work goes on, and disappears at the end. Call it as
    `progress(done, total)`; `total` is None where it is not known. Where stderr is no terminal, it is
    silent.

    Args:
        label: what is being done ("Embedding").
        unit: what is counted ("texts").
    """

    def __init__(self, label: str, unit: str) -> None:
        self._label = label
        self._unit = unit
        self._visible = sys.stderr.isatty()
        self._begin = time.monotonic()
        self._next = self._begin
        self._drawn = False

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def __call__(self, done: int, total: int | None) -> None:
        """Tell how much is done."""
        now = time.monotonic()
        if not self._visible or (now < self._next and done != total):
            return
        self._next = now + _EVERY
        self._drawn = True
        width = shutil.get_terminal_size().columns
        line = progress_line(self._label, self._unit, done, total, now - self._begin)
        sys.stderr.write(f"\r{line[: width - 1]}\x1b[K")
        sys.stderr.flush()


def progress_line(label: str, unit: str, done: int, total: int | None, seconds: float) -> str:
    """The text of a progress bar after so many seconds; what matters least comes last and may be cut off."""
    rate = done / seconds if seconds > 0 and done else 0.0
    speed = f"  {format_rate(rate)}/s" if rate else ""
    if not total:
        return f"{label}  {done:,} {unit}{speed}"
    share = min(done / total, 1.0)
    filled = int(share * _BAR)
    bar = "█" * filled + "░" * (_BAR - filled)
    left = f"  {format_seconds((total - done) / rate)} left" if rate and done < total else ""
    return f"{label}  {bar} {share:4.0%}{speed}{left}  {done:,} of {total:,} {unit}"


def format_rate(rate: float) -> str:
    """A rate with as many digits as one reads: 3.2, 45, 12,300."""
    if rate < 10:
        return f"{rate:.1f}"
    digits = max(len(str(int(rate))) - 3, 0)
    return f"{round(rate / 10**digits) * 10**digits:,}"


def format_seconds(seconds: float) -> str:
    """A duration: 0.3 s, 12 s, 3:07 min, 2:05 h."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"
