"""Reading tokenizer.json with the library `tokenizers`, whose faults become errors here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vecdb import EmbedderUnavailableError, ItemError


def read_tokenizer(path: Path) -> Any:
    """The `tokenizers.Tokenizer` in a file, which never pads and never cuts.

    Raises:
        EmbedderUnavailableError: there is no such file, or it does not hold a tokenizer.
    """
    from tokenizers import Tokenizer

    if not path.is_file():
        raise EmbedderUnavailableError(
            f"the model needs the file {path}, which does not exist; put the model's tokenizer.json there",
            missing=[str(path)],
        )
    try:
        with _panics_are_errors():
            tokenizer = Tokenizer.from_file(str(path))
            tokenizer.no_padding()
            tokenizer.no_truncation()
            tokenizer.encode("a")
    except Exception as error:  # the library raises plain `Exception`
        raise EmbedderUnavailableError(
            f"the file {path} does not hold a tokenizer that works ({_first_line(error)}); fetch it again",
            missing=[str(path)],
        ) from error
    return tokenizer


@contextmanager
def tokenising() -> Iterator[None]:
    """Tokenise one text inside this.

    Raises:
        ItemError: the tokenizer cannot.
    """
    try:
        with _panics_are_errors():
            yield
    except (ItemError, MemoryError):
        raise
    except Exception as error:
        raise ItemError(
            f"the tokenizer cannot read this text ({_first_line(error)}); leave it out or use another model"
        ) from error


@contextmanager
def _panics_are_errors() -> Iterator[None]:
    """A panic of a Rust library passes `except Exception` by and would end the program."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise RuntimeError(str(error)) from error


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
