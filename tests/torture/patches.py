"""Putting another function in the place of one of vecdb's, in this process."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any


def wrap(module: str, path: str, wrapper: Callable[[Any], Any]) -> None:
    """Put `wrapper(function)` in the place of a function, wherever a module of vecdb has it.

    Args:
        module: where it is defined.
        path: "function" or "Class.method".
        wrapper: takes the function, returns the one to call instead.

    Raises:
        AttributeError: there is no such function: it has another name now.
    """
    owner: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    for one in classes:
        owner = getattr(owner, one)
    function = getattr(owner, name)
    instead = wrapper(function)
    setattr(owner, name, instead)
    if not classes:
        for other, loaded in list(sys.modules.items()):
            if other.partition(".")[0] == "vecdb" and getattr(loaded, name, None) is function:
                setattr(loaded, name, instead)
