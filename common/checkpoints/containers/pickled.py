"""Pickles read by a machine of our own that runs nothing: it knows a handful of globals and refuses all others.

Python's own ``Unpickler``, restricted by ``find_class``, still lets a file ask for memory of any size. This one takes
``pickletools``' opcodes one by one and makes dictionaries, lists, tuples, text, numbers, and ``StoredTensor``.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

import ml_dtypes
import numpy as np

from common.errors import InputError, shown

MOST_OPCODES = 5_000_000
"""Opcodes that a pickle may have at most."""
STORAGES = {
    "torch FloatStorage": np.dtype(np.float32),
    "torch DoubleStorage": np.dtype(np.float64),
    "torch HalfStorage": np.dtype(np.float16),
    "torch BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch LongStorage": np.dtype(np.int64),
    "torch IntStorage": np.dtype(np.int32),
    "torch ShortStorage": np.dtype(np.int16),
    "torch CharStorage": np.dtype(np.int8),
    "torch ByteStorage": np.dtype(np.uint8),
    "torch BoolStorage": np.dtype(np.bool_),
}
"""The storages that a pickle may name, as torch's classes, and the dtypes of their numbers."""
_MARK = object()


@dataclass(frozen=True)
class Storage:
    """Numbers that lie elsewhere in the file: their dtype, the key of the place, and how many there are."""

    dtype: np.dtype
    key: str
    count: int


@dataclass(frozen=True)
class StoredTensor:
    """A view of a storage, as ``torch._utils._rebuild_tensor_v2`` is given it; offset and stride in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class _Global:
    """A class or function that a pickle names and that is known here; it is not imported."""

    name: str


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> StoredTensor:
    """A tensor of the arguments of torch's rebuilding functions, checked."""
    whole = isinstance(shape, tuple) and isinstance(stride, tuple) and len(shape) == len(stride) <= 32
    numbers = (offset, *shape, *stride) if whole else (None,)
    if not isinstance(storage, Storage) or not all(type(each) is int and 0 <= each < 2**62 for each in numbers):
        raise InputError("a tensor must have a storage, an offset, a shape and strides of whole numbers")
    return StoredTensor(storage, offset, shape, stride)


def _mapping(items: Any = (), *_: Any) -> dict[Any, Any]:
    """A dictionary of the pairs that an OrderedDict is made of."""
    if not isinstance(items, list | tuple) or not all(
        isinstance(pair, tuple | list) and len(pair) == 2 for pair in items
    ):
        raise InputError("an OrderedDict must be made of pairs")
    return {_key(key): value for key, value in items}


def _first(value: Any = None, *_: Any) -> Any:
    """The first argument: of a parameter, its tensor."""
    return value


CALLED: dict[str, Callable[..., Any]] = {
    "collections OrderedDict": _mapping,
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _first,
    "torch Size": lambda sizes=(), *_: tuple(sizes) if isinstance(sizes, list | tuple) else (),
    "torch device": lambda *_: "device",
}
"""What stands in for each function that a pickle may call."""


def unpickled(content: bytes | IO[bytes]) -> Any:
    """What a pickle holds, made of plain parts; a stream is left behind the pickle's end.

    Raises
    ------
    InputError
        If it is no whole pickle, or asks for anything but ``CALLED`` and ``STORAGES``.
    """
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if count > MOST_OPCODES:
                raise InputError(f"a pickle must have at most {MOST_OPCODES:,} opcodes")
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.step(opcode.name, argument)
    except InputError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, UnicodeError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise InputError(f"a pickle must be whole and well-formed; got: {shown(first, 120)}") from None
    raise InputError("a pickle must end with STOP")


def _key(value: Any) -> Any:
    """A dictionary's key, if it is text, a number or None."""
    if not isinstance(value, str | int | float | bool | None):
        raise InputError(f"a dictionary's keys must be text or numbers; got {type(value).__name__}")
    return value


class _Machine:
    """The stack, the marks and the memo of one pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Do one opcode."""
        if name in VALUES:
            self.stack.append(VALUES[name](argument))
        elif name in ("PROTO", "FRAME"):
            pass
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = self._top()
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self._top()
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self.stack.append(self.memo[argument])
        elif name in OPERATIONS:
            getattr(self, OPERATIONS[name])()
        else:
            raise InputError(f"a checkpoint's pickle must hold plain parts and tensors alone; got the opcode {name}")

    def global_by_stack(self) -> None:
        """Replace a module and a name by the global that they name."""
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(_known_global(f"{module} {name}"))

    def mark(self) -> None:
        """Push the mark, from which on later opcodes take the stack."""
        self.stack.append(_MARK)

    def pop(self) -> None:
        """Drop the value on top."""
        self.stack.pop()

    def pop_mark(self) -> None:
        """Drop all values down to the last mark, and the mark."""
        self._to_mark()

    def duplicate(self) -> None:
        """Push the value on top once more."""
        self.stack.append(self._top())

    def make_tuple(self) -> None:
        """Replace all down to the last mark by a tuple of it."""
        self.stack.append(tuple(self._to_mark()))

    def make_list(self) -> None:
        """Replace all down to the last mark by a list of it."""
        self.stack.append(self._to_mark())

    def make_dict(self) -> None:
        """Replace keys and values in turn, down to the last mark, by a dictionary."""
        items = self._to_mark()
        self.stack.append({_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    def tuple_of(self, count: int) -> None:
        """Replace the ``count`` values on top by a tuple of them."""
        if _MARK in self.stack[-count:] or len(self.stack) < count:
            raise ValueError("too few values for a tuple")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def tuple_of_1(self) -> None:
        """Replace the value on top by a tuple of it."""
        self.tuple_of(1)

    def tuple_of_2(self) -> None:
        """Replace two values on top by a tuple of them."""
        self.tuple_of(2)

    def tuple_of_3(self) -> None:
        """Replace three values on top by a tuple of them."""
        self.tuple_of(3)

    def append(self) -> None:
        """Append the value on top to the list below it."""
        value = self.stack.pop()
        self._container(list).append(value)

    def appends(self) -> None:
        """Append all down to the last mark to the list below that."""
        values = self._to_mark()
        self._container(list).extend(values)

    def set_item(self) -> None:
        """Put the value on top, under the key below it, into the dictionary below both."""
        value, key = self.stack.pop(), self.stack.pop()
        self._container(dict)[_key(key)] = value

    def set_items(self) -> None:
        """Put keys and values in turn, down to the last mark, into the dictionary below that."""
        items = self._to_mark()
        target = self._container(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    def reduce(self) -> None:
        """Replace a function and its arguments by what stands in for the call; only ``CALLED`` are called."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Global) or function.name not in CALLED or not isinstance(arguments, tuple):
            raise InputError(f"a checkpoint's pickle must call nothing; got a call of {shown(function)}")
        self.stack.append(CALLED[function.name](*arguments))

    def build(self) -> None:
        """Drop a state: the object that it is set on keeps what it has."""
        self.stack.pop()  # attributes, such as an OrderedDict's _metadata; nothing here has any

    def persistent(self) -> None:
        """Replace a persistent id, which must be a storage's, by the storage."""
        place = self.stack.pop()
        if not isinstance(place, tuple) or len(place) < 5 or place[0] != "storage":
            raise InputError(f"a checkpoint's persistent ids must be storages; got {shown(place)}")
        _, kind, key, _, count = place[:5]
        if not isinstance(kind, _Global) or kind.name not in STORAGES:
            raise InputError(f"a storage must be one of {', '.join(STORAGES)}; got {shown(kind)}")
        if not isinstance(key, str) or type(count) is not int or count < 0 or (len(place) > 5 and place[5]):
            raise InputError("a storage must have a key and a count, and be no view of another one")
        self.stack.append(Storage(STORAGES[kind.name], key, count))

    def _top(self) -> Any:
        """The value on top, which must be no mark."""
        if self.stack[-1] is _MARK:
            raise ValueError("a mark where a value must be")
        return self.stack[-1]

    def _container(self, kind: type) -> Any:
        """The value on top, which must be of a kind."""
        if not isinstance(self.stack[-1], kind):
            raise ValueError(f"a {kind.__name__} must be there")
        return self.stack[-1]

    def _to_mark(self) -> list[Any]:
        """Take all down to the last mark off the stack, and the mark."""
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise ValueError("no mark")
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values


def _known_global(name: Any) -> _Global:
    """A global by its module and name, if it is one of ``CALLED`` or ``STORAGES``."""
    if name not in CALLED and name not in STORAGES:
        raise InputError(
            f"a checkpoint's pickle must hold tensors and plain parts alone; got one that asks for {shown(name)}, "
            "which is not loaded: save a state_dict"
        )
    return _Global(name)


def _value(argument: Any) -> Any:
    """The opcode's argument as it is."""
    return argument


VALUES: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        (
            *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINSTRING", "BINSTRING", "STRING"),
            *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1"),
            *("LONG4", "BINFLOAT", "FLOAT"),
        ),
        _value,
    ),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_DICT": lambda _: {},
    "EMPTY_LIST": lambda _: [],
    "EMPTY_TUPLE": lambda _: (),
    "GLOBAL": _known_global,
}
"""The opcodes that push a value, and what makes it of their argument."""
OPERATIONS = {
    "STACK_GLOBAL": "global_by_stack",
    "MARK": "mark",
    "POP": "pop",
    "POP_MARK": "pop_mark",
    "DUP": "duplicate",
    "TUPLE": "make_tuple",
    "LIST": "make_list",
    "DICT": "make_dict",
    "TUPLE1": "tuple_of_1",
    "TUPLE2": "tuple_of_2",
    "TUPLE3": "tuple_of_3",
    "APPEND": "append",
    "APPENDS": "appends",
    "SETITEM": "set_item",
    "SETITEMS": "set_items",
    "REDUCE": "reduce",
    "BUILD": "build",
    "BINPERSID": "persistent",
}
"""The opcodes that work on the stack, and the method that does."""
