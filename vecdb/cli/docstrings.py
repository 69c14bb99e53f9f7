"""The texts of `vecdb demo`: the documentation that comes with Python and with what is installed beside it.

Source files are read and parsed; they are never imported, so that no code of theirs runs. Only the modules
that CPython has in C, which have no source to read, are asked for their documentation directly.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sysconfig
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

MAX_DOCSTRINGS = 12_000
MAX_CHARACTERS = 1_500
MIN_CHARACTERS = 20
MIN_WORDS = 4
MAX_OF_INSTALLED_PACKAGE = 400
_MAX_SOURCE_BYTES = 1_000_000

# Tests, examples and copies of other projects say little about what a name is for.
_LEFT_OUT = {
    "__main__", "__phello__", "benchmarks", "conftest", "docs", "ensurepip", "examples", "externals", "idlelib",
    "lib2to3", "pydoc_data", "site-packages", "setup", "test", "testing", "tests", "turtledemo", "vendor", "vendored",
}  # fmt: skip
# Modules in C, by the name under which their content is used.
_COMPILED = {
    "array": "array", "binascii": "binascii", "builtins": "builtins", "cmath": "cmath", "gc": "gc",
    "itertools": "itertools", "math": "math", "nt": "os", "posix": "os", "select": "select", "sys": "sys",
    "time": "time", "unicodedata": "unicodedata", "zlib": "zlib", "_bisect": "bisect", "_collections": "collections",
    "_csv": "csv", "_functools": "functools", "_hashlib": "hashlib", "_io": "io", "_operator": "operator",
    "_random": "random", "_socket": "socket", "_sqlite3": "sqlite3", "_struct": "struct",
}  # fmt: skip
_WORD = re.compile(r"[^\W\d_]{2,}")
_BLOCK = (ast.If, ast.Try, ast.With)


@dataclass(frozen=True, slots=True)
class Docstring:
    """One documented name.

    Attributes:
        id: its qualified name, "gzip.open".
        text: what is written about it, at most 1,500 characters.
        module, name: "gzip" and "open"; for a module, its own name.
        kind: "module", "class", "function" or "method".
        package: the first part of the module's name.
        source: "stdlib" for what comes with Python, "installed" for what was installed.
    """

    id: str
    text: str
    module: str
    name: str
    kind: str
    package: str
    source: str

    @property
    def metadata(self) -> dict[str, Any]:
        """What the demo's records can be filtered by."""
        return {
            "kind": self.kind,
            "source": self.source,
            "package": self.package,
            "module": self.module,
            "name": self.name,
        }


def find_docstrings(*, limit: int = MAX_DOCSTRINGS, seconds: float = 20.0) -> Iterator[Docstring]:
    """Public names with a docstring, those of the standard library first, each once.

    Of an installed package there are at most 400, so that a large one does not crowd out the others.

    Args:
        limit: at most so many.
        seconds: no further file is opened after this time.
    """
    until = time.monotonic() + seconds
    seen: set[str] = set()
    installed: Counter[str] = Counter()
    for docstring in _all(until):
        if len(seen) >= limit:
            return
        if docstring.id in seen or installed[docstring.package] >= MAX_OF_INSTALLED_PACKAGE:
            continue
        seen.add(docstring.id)
        installed[docstring.package] += docstring.source == "installed"
        yield docstring


def _all(until: float) -> Iterator[Docstring]:
    paths = sysconfig.get_paths()
    for name, known_as in _COMPILED.items():
        yield from _of_compiled(name, known_as)
    places = {Path(paths["stdlib"]): "stdlib", Path(paths["purelib"]): "installed", Path(paths["platlib"]): "installed"}
    for folder, source in places.items():
        for file, module in _modules(folder):
            if time.monotonic() > until:
                return
            yield from _of_file(file, module, source)


def _modules(folder: Path, prefix: str = "") -> Iterator[tuple[Path, str]]:
    """The public modules in a folder of source files and in its packages, with their names."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        name = entry.stem.removeprefix("_py")  # _pydatetime is what datetime is made of, and documents it
        if name in _LEFT_OUT or (name.startswith("_") and name != "__init__"):
            continue
        if entry.suffix == ".py":
            yield entry, prefix.rstrip(".") if name == "__init__" else prefix + name
        elif entry.name.isidentifier() and (entry / "__init__.py").is_file():
            yield from _modules(entry, f"{prefix}{name}.")


def _of_file(file: Path, module: str, source: str) -> Iterator[Docstring]:
    """The docstrings of one source file; none of a file that cannot be read or parsed."""
    try:
        if not module or file.stat().st_size > _MAX_SOURCE_BYTES:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the parser, about other people's string literals
            tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return
    yield from _made(_module_docstring(tree), "module", module, "", source)
    yield from _of_body(tree.body, module, "", source)


def _of_body(body: Iterable[ast.stmt], module: str, inside: str, source: str) -> Iterator[Docstring]:
    """The public classes, functions and methods defined in a body, also under `if` and `try`."""
    for node in body:
        if isinstance(node, _BLOCK):
            nested = [*node.body, *getattr(node, "orelse", ()), *getattr(node, "finalbody", ())]
            for handler in getattr(node, "handlers", ()):
                nested += handler.body
            yield from _of_body(nested, module, inside, source)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            is_class = isinstance(node, ast.ClassDef)
            kind = "class" if is_class else "method" if inside else "function"
            yield from _made(ast.get_docstring(node), kind, module, inside + node.name, source)
            if is_class:
                yield from _of_body(node.body, module, f"{inside}{node.name}.", source)


def _of_compiled(name: str, known_as: str) -> Iterator[Docstring]:
    try:
        module = importlib.import_module(name)
    except ImportError:  # another operating system's, or left out of this build of Python
        return
    if name == known_as:
        yield from _made(module.__doc__, "module", name, "", "stdlib")
    yield from _of_namespace(module, known_as, "", depth=1)


def _of_namespace(owner: ModuleType | type, module: str, inside: str, *, depth: int) -> Iterator[Docstring]:
    for name, value in sorted(vars(owner).items()):
        if name.startswith("_") or not (isinstance(value, type) or callable(value)):
            continue
        is_class = isinstance(value, type)
        kind = "class" if is_class else "method" if inside else "function"
        yield from _made(inspect.getdoc(value), kind, module, inside + name, "stdlib")
        if is_class and depth:
            yield from _of_namespace(value, module, f"{name}.", depth=depth - 1)


def _module_docstring(tree: ast.Module) -> str | None:
    """The docstring, also where it is assigned: `__doc__ = "..."`."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            target = node.targets[0]
            if isinstance(target, ast.Name) and target.id == "__doc__":
                return inspect.cleandoc(node.value.value)
    return ast.get_docstring(tree)


def _made(text: str | None, kind: str, module: str, name: str, source: str) -> Iterator[Docstring]:
    """The docstring if it is worth finding: in words, not only "See above" or a table of symbols."""
    shortened = (text or "").strip()[:MAX_CHARACTERS].rstrip()
    if len(shortened) < MIN_CHARACTERS or len(_WORD.findall(shortened[:200])) < MIN_WORDS:
        return
    if "\0" in shortened or any(0xD800 <= ord(char) < 0xE000 for char in shortened):
        return  # not characters: examples of what goes wrong
    id = f"{module}.{name}" if name else module
    yield Docstring(id, shortened, module, name or module, kind, module.partition(".")[0], source)
