"""A living worker, seen from the parent."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any

from tests.benchmarks.compare.catalog import PeerEntry

ROOT = Path(__file__).resolve().parents[3]
# Two threads where a peer builds its index with OpenMP, one in numpy: more would only wait for one another.
ENVIRONMENT = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1", "ANONYMIZED_TELEMETRY": "False"}
PATIENCE = 3600.0  # seconds that a peer may take for one request


class PeerError(Exception):
    """A peer failed; the message is its own, in one line."""


class Client:
    """Starts the worker of a peer; a context manager that ends it."""

    def __init__(self, peer: PeerEntry, python: Path, log: Path) -> None:
        self.peer = peer
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log.open("ab")
        module = f"tests.benchmarks.peers.{peer.module}"
        self._process = subprocess.Popen(
            [str(python), "-m", "tests.benchmarks.compare.worker", module, peer.adapter],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, cwd=ROOT, text=True, encoding="utf-8",
            env={**os.environ, **ENVIRONMENT},
        )
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        self.about: dict[str, Any] = {}

    def _read(self) -> None:
        """On a thread, so that waiting for an answer can have an end."""
        for line in self._process.stdout or ():
            self._answers.put(line)
        self._answers.put("")

    def call(self, do: str, **arguments: Any) -> dict[str, Any]:
        """The answer to one request."""
        if self._process.stdin is None:
            raise PeerError("the worker has no input")
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=PATIENCE)
        except BrokenPipeError:
            line = ""
        except queue.Empty:
            self._process.kill()
            raise PeerError(f"{do}: no answer after {PATIENCE:.0f} s") from None
        if not line:
            raise PeerError(f"{do}: the process ended with exit code {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{do}: {' '.join(answer['error'].split())}")
        found: dict[str, Any] = answer["ok"]
        return found

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def end(self) -> None:
        """End the process, if need be by force."""
        try:
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._process.wait(30)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
            self._process.wait()
        self._log.close()
