"""Children made by fork from a process that has imported everything: made in milliseconds, killed for nothing.

Only for a process with no open database and no threads of its own.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_RAISED = 99


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended.

    Attributes:
        status: its exit status; negative: the signal that ended it, as in `subprocess`.
        result: what its function returned, as JSON knows it; None where it did not come to that.
        output: what it wrote to stderr: a traceback, or what the interpreter says when it crashes.
    """

    status: int
    result: Any
    output: str

    @property
    def crashed(self) -> bool:
        """Whether a signal ended it that nobody sent: the interpreter died."""
        return self.status < 0 and -self.status not in (signal.SIGKILL, signal.SIGTERM)


class Child:
    """A running child."""

    def __init__(self, function: Callable[[], Any]) -> None:
        # Closed when the child has ended.
        self._output, self._result = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        sys.stdout.flush()
        sys.stderr.flush()
        gc.freeze()  # or the first collection in the child would copy every page of the parent's
        self.pid = os.fork()
        if not self.pid:
            self._live(function)
        gc.unfreeze()

    def _live(self, function: Callable[[], Any]) -> None:
        status = _RAISED
        try:
            os.dup2(self._output.fileno(), 1)
            os.dup2(self._output.fileno(), 2)
            faulthandler.enable(2)
            found = function()
            os.write(self._result.fileno(), json.dumps(found).encode())
            status = 0
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(status)

    def kill(self, after: float = 0.0) -> None:
        """SIGKILL, so many seconds from now; nothing where it has ended by then."""
        time.sleep(after)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float = 120.0) -> Ended:
        """Its end. One that takes longer is killed, and its output says so."""
        deadline, step = time.monotonic() + timeout, 0.0005
        late = ""
        while True:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                break
            if time.monotonic() > deadline and not late:
                late = f"\nit was still running after {timeout:g} s, and was killed"
                os.kill(self.pid, signal.SIGABRT)  # faulthandler says where it stood
            time.sleep(step)
            step = min(step * 1.5, 0.02)
        code = os.waitstatus_to_exitcode(status)
        self._output.seek(0)
        self._result.seek(0)
        output, result = self._output.read().decode(errors="replace"), self._result.read()
        self._output.close()
        self._result.close()
        return Ended(code, json.loads(result) if code == 0 else None, output + late)


def in_child(function: Callable[[], Any], timeout: float = 120.0) -> Ended:
    """Run a function in a child of its own and wait for it."""
    return Child(function).wait(timeout)


@contextlib.contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """A new folder in memory, where there is such a place; removed afterwards."""
    memory = Path("/dev/shm")  # a disk: many campaigns sync thousands of times
    place = str(memory) if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix=f"vecdb-{name}-", dir=place) as folder:
        yield Path(folder)
