"""A target, and the judgement of one input: promised errors only, little memory and time, nothing else touched."""

from __future__ import annotations

import os
import sys
import sysconfig
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
MEMORY = 512 << 20
SECONDS = 1.0


class BrokenPromise(Exception):
    """What a target raises when an answer is wrong."""


class NotHere(Exception):
    """What the seeds raise where a library that the target needs is not installed; the message says which."""


@dataclass(frozen=True, slots=True)
class Target:
    """Something that reads what comes from outside.

    Attributes:
        name: one of `TARGETS`.
        seeds: makes small inputs that are right, or nearly so, in an empty folder that it may use.
        run: reads one input, with an empty folder at hand that is the same each time; errors that are
            promised stay inside, any other comes out.
        longest: bytes of an input.
        words: what inputs are made of, for whoever changes them.
    """

    name: str
    seeds: Callable[[Path], Sequence[bytes]]
    run: Callable[[bytes, Path], None]
    longest: int = 4096
    words: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """A broken promise: `kind` is the same for inputs that break it in the same place."""

    kind: str
    text: str


class Guard:
    """Watches what the interpreter opens and starts, from when it is made until the process ends."""

    _HARMLESS = ("/dev/null", "/dev/urandom", "/proc/", "/sys/")
    _STARTING = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn")
    _WRITING = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
    _CALLING = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "urllib.Request")

    def __init__(self, folder: Path) -> None:
        self.seen: list[str] = []
        self.watching = False
        self._own = f"{folder.resolve()}/"
        paths = sysconfig.get_paths()
        self._code = tuple(
            {
                f"{ROOT}/",
                f"{sys.prefix}/",
                f"{sys.base_prefix}/",
                paths["stdlib"],
                *(f"{path}/" for path in sys.path if path),
            }
        )
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.watching:
            return
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, str | bytes | os.PathLike) and not self._allowed(path, flags):
                self.seen.append(f"open {path!r} {mode}")
        elif event in self._WRITING:
            if not _absolute(arguments[0]).startswith(self._own):
                self.seen.append(f"{event} {arguments!r:.200}")
        elif event in self._STARTING or event in self._CALLING:
            self.seen.append(f"{event} {arguments!r:.200}")

    def _allowed(self, path: Any, flags: Any) -> bool:
        found = _absolute(path)
        if found.startswith((self._own, *self._HARMLESS)):
            return True
        reading = not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        return reading and found.startswith(self._code)  # modules that are imported on first use


def _absolute(path: Any) -> str:
    return os.path.normpath(Path.cwd() / os.fsdecode(path))


def judge(target: Target, data: bytes, folder: Path, guard: Guard) -> Fault | None:
    """Read one input; what was broken, if anything."""
    guard.seen.clear()
    started = time.process_time()
    fault: Fault | None = None
    guard.watching = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.run(data, folder)
    except MemoryError as error:
        fault = _fault("memory", error, f"more than {MEMORY >> 20} MiB were asked for")
    except BaseException as error:  # also what is no Exception must not come out of a reader
        fault = _fault(type(error).__name__, error, str(error))
    finally:
        guard.watching = False
    seconds = time.process_time() - started
    if fault is None and guard.seen:
        fault = Fault(f"touched what is not its own: {guard.seen[0].split(' ')[0]}", "; ".join(guard.seen[:5]))
    if fault is None and seconds > SECONDS:
        fault = Fault("slow", f"{seconds:.1f} s of processor time")
    return fault


def _fault(kind: str, error: BaseException, text: str) -> Fault:
    """Where it came from is the last place within this repository."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(f"{ROOT}/")] or list(frames)
    place = f"{Path(own[-1].filename).relative_to(ROOT).as_posix()}, {own[-1].name}" if own else "nowhere"
    shown = " > ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames[-6:])
    return Fault(f"{kind} from {place}", f"{text:.400} [{shown}]")
