"""Each measurement as a JSON file in the cache folder, so that an interrupted run goes on where it was."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.compare.client import PeerError

Result = dict[str, Any]


class Store:
    """Results by name, as `sentences/ingest/vecdb/0`; what failed is stored too, and tried again when resumed."""

    def __init__(self, folder: Path, *, resume: bool) -> None:
        self.folder = folder
        if not resume:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def get(self, name: str) -> Result | None:
        """A result, or None where there is none or it failed."""
        path = self._path(name)
        if not path.exists():
            return None
        found: Result = json.loads(path.read_text("utf-8"))
        return None if "error" in found else found

    def put(self, name: str, result: Result) -> Result:
        """Keep a result."""
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".partial")
        temporary.write_text(json.dumps(result), "utf-8")
        temporary.rename(path)
        return result

    def forget(self, name: str) -> None:
        """Measure it again."""
        self._path(name).unlink(missing_ok=True)

    def measure(self, name: str, make: Callable[[], Result]) -> Result:
        """The result that is kept, or a new one; a failure is kept and raised."""
        kept = self.get(name)
        if kept is not None:
            return kept
        begin = time.perf_counter()
        try:
            made = make()
        except PeerError as error:
            self.put(name, {"error": str(error)})
            raise
        print(f"  {name}: {time.perf_counter() - begin:.1f} s", flush=True)
        return self.put(name, made)

    def rounds(self, name: str) -> list[Result]:
        """The results of all rounds of a measurement, in order."""
        folder = self.folder / name
        numbers = sorted(int(path.stem) for path in folder.glob("*.json")) if folder.is_dir() else []
        found = [self.get(f"{name}/{number}") for number in numbers]
        return [result for result in found if result is not None]

    def errors(self) -> dict[str, str]:
        """Name of each measurement that failed, and why."""
        found = {}
        for path in sorted(self.folder.rglob("*.json")):
            content = json.loads(path.read_text("utf-8"))
            if isinstance(content, dict) and "error" in content:
                found[str(path.relative_to(self.folder).with_suffix(""))] = content["error"]
        return found
