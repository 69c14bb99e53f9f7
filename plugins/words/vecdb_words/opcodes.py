"""A pickle read as data. Nothing in it is imported, called or constructed.

A pickle is a program for a small stack machine. Here its plain values become themselves, a dict becomes
a flat list of keys and values (so that nothing hostile is hashed), a global becomes its name, and each
call that the program asks for becomes a `Call`: a note of what would have been called. The opcodes are
those of protocols 2 to 5, which are documented in the standard library's `pickletools`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_MAX_OBJECTS = 200_000  # gensim's files hold a few hundred lists and calls, and one string a word


class PickleError(Exception):
    """The pickle is damaged, or holds what is never read; the message says what."""


@dataclass(frozen=True, slots=True)
class Name:
    """A global that the pickle refers to."""

    module: str
    name: str


@dataclass(slots=True, eq=False)
class Call:
    """A call that was not made: of `function` (a `Name`) with `arguments`, then given a `state`."""

    function: Any
    arguments: tuple[Any, ...]
    state: Any = None


@dataclass(slots=True, eq=False)
class Pairs:
    """A dict: keys and values, one behind the other."""

    flat: list[Any]

    def get(self, key: str) -> Any:
        """The value of a key; None if it is not there."""
        for place in range(0, len(self.flat), 2):
            if isinstance(self.flat[place], str) and self.flat[place] == key:
                return self.flat[place + 1]
        return None


def read_pickle(data: Any) -> Any:
    """The value that a pickle describes.

    Args:
        data: its bytes, or a map of the file.

    Raises:
        PickleError: it is cut off or damaged, larger than any file of word vectors, or uses what only
            other pickles use.
    """
    return _Machine(data).run()


class _Machine:
    """The stack, the memo, and where in the bytes the program is."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self._position = 0
        self._marks: list[int] = []
        self._objects = 0
        self.stack: list[Any] = []
        self.memo: list[Any] = []

    def run(self) -> Any:
        data, size = self._data, len(self._data)
        try:
            while self._position < size:
                code = data[self._position]
                self._position += 1
                if code == _STOP:
                    return self.stack.pop()
                _ACTIONS[code](self)
        except KeyError as error:
            raise PickleError(f"byte {self._position - 1} is an opcode that gensim's files do not have") from error
        except (IndexError, TypeError, AttributeError, ValueError) as error:
            raise PickleError(f"it is damaged at byte {self._position}") from error
        raise PickleError("it is cut off")

    def take(self, count: int) -> bytes:
        """The next bytes."""
        start, end = self._position, self._position + count
        if count < 0 or end > len(self._data):
            raise PickleError("it is cut off")
        self._position = end
        return bytes(self._data[start:end])

    def number(self, width: int, *, signed: bool = False) -> int:
        """The next whole number, little-endian."""
        return int.from_bytes(self.take(width), "little", signed=signed)

    def line(self) -> str:
        """The next bytes up to a newline, as text."""
        end = self._data.find(b"\n", self._position, self._position + _LONGEST_NAME)
        if end < 0:
            raise ValueError
        found = self.take(end - self._position).decode()
        self._position = end + 1
        return found

    def make(self, value: Any) -> None:
        """Push something that takes more memory than its opcode does."""
        self._objects += 1
        if self._objects > _MAX_OBJECTS:
            raise PickleError(f"it holds more than {_MAX_OBJECTS} objects")
        self.stack.append(value)

    def pop(self, count: int) -> list[Any]:
        """The last values, which lie behind the last mark."""
        start = len(self.stack) - count
        if start < (self._marks[-1] if self._marks else 0):
            raise IndexError
        found = self.stack[start:]
        del self.stack[start:]
        return found

    def mark(self) -> None:
        """Remember how high the stack is."""
        self._marks.append(len(self.stack))

    def marked(self) -> list[Any]:
        """The values behind the last mark, which is taken away."""
        return self.pop(len(self.stack) - self._marks.pop())

    def top(self, kind: type) -> Any:
        """The last value, which stays."""
        if type(self.stack[-1]) is not kind:
            raise TypeError
        return self.stack[-1]

    def remember(self, number: int) -> None:
        """Put the last value into the memo; every pickler counts up, and anything else could fill the memory."""
        if number != len(self.memo):
            raise ValueError
        self.memo.append(self.stack[-1])


_Action = Callable[[_Machine], Any]
_STOP = ord(".")
_LONGEST_NAME = 1000


def _constant(value: Any) -> _Action:
    return lambda machine: machine.stack.append(value)


def _whole(width: int, *, signed: bool = False) -> _Action:
    return lambda machine: machine.stack.append(machine.number(width, signed=signed))


def _long(width: int) -> _Action:
    return lambda machine: machine.stack.append(machine.number(machine.number(width), signed=True))


def _float(machine: _Machine) -> None:
    machine.stack.append(struct.unpack(">d", machine.take(8))[0])


def _bytes(width: int) -> _Action:
    return lambda machine: machine.stack.append(machine.take(machine.number(width)))


def _text(width: int) -> _Action:
    return lambda machine: machine.stack.append(machine.take(machine.number(width)).decode("utf-8", "replace"))


def _tuple(count: int) -> _Action:
    return lambda machine: machine.make(tuple(machine.pop(count)))


def _extend(machine: _Machine, items: list[Any]) -> None:
    machine.top(list).extend(items)


def _set_items(machine: _Machine, items: list[Any]) -> None:
    if len(items) % 2:
        raise ValueError
    machine.top(Pairs).flat.extend(items)


def _call(machine: _Machine, count: int = 2) -> None:
    function, arguments, *_ = machine.pop(count)
    if not isinstance(arguments, tuple):
        raise TypeError
    machine.make(Call(function, arguments))


def _build(machine: _Machine) -> None:
    [state] = machine.pop(1)
    machine.top(Call).state = state


def _stack_global(machine: _Machine) -> None:
    module, name = machine.pop(2)
    machine.make(Name(module, name))


# in the order of `pickletools`: numbers, bytes, text, lists, tuples, dicts, sets, the stack, the memo, globals, calls
_ACTIONS: dict[int, _Action] = {
    ord("J"): _whole(4, signed=True),
    ord("K"): _whole(1),
    ord("M"): _whole(2),
    0x8A: _long(1),
    0x8B: _long(4),
    ord("G"): _float,
    ord("N"): _constant(None),
    0x88: _constant(True),
    0x89: _constant(False),
    ord("B"): _bytes(4),
    ord("C"): _bytes(1),
    0x8E: _bytes(8),
    0x96: _bytes(8),
    ord("X"): _text(4),
    0x8C: _text(1),
    0x8D: _text(8),
    ord("]"): lambda machine: machine.make([]),
    ord("a"): lambda machine: _extend(machine, machine.pop(1)),
    ord("e"): lambda machine: _extend(machine, machine.marked()),
    ord(")"): _constant(()),
    ord("t"): lambda machine: machine.make(tuple(machine.marked())),
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord("}"): lambda machine: machine.make(Pairs([])),
    ord("s"): lambda machine: _set_items(machine, machine.pop(2)),
    ord("u"): lambda machine: _set_items(machine, machine.marked()),
    0x8F: lambda machine: machine.make([]),
    0x90: lambda machine: _extend(machine, machine.marked()),
    0x91: lambda machine: machine.make(machine.marked()),
    ord("("): _Machine.mark,
    ord("0"): lambda machine: machine.pop(1),
    ord("1"): _Machine.marked,
    ord("2"): lambda machine: machine.stack.append(machine.stack[-1]),
    ord("h"): lambda machine: machine.stack.append(machine.memo[machine.number(1)]),
    ord("j"): lambda machine: machine.stack.append(machine.memo[machine.number(4)]),
    ord("q"): lambda machine: machine.remember(machine.number(1)),
    ord("r"): lambda machine: machine.remember(machine.number(4)),
    0x94: lambda machine: machine.remember(len(machine.memo)),
    ord("c"): lambda machine: machine.make(Name(machine.line(), machine.line())),
    0x93: _stack_global,
    ord("R"): _call,
    0x81: _call,
    0x92: lambda machine: _call(machine, 3),
    ord("b"): _build,
    0x80: lambda machine: machine.take(1),
    0x95: lambda machine: machine.take(8),
}
