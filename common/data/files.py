"""Text files that a user names, line by line, and packages that carry data."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import InputError, shown


def lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""Number (from 1) and text of every line of a UTF-8 file, without its ``\n`` or ``\r\n`` and byte order mark.

    Only ``\n`` ends a line: word vector files have words that hold other separators of Unicode.

    Raises
    ------
    InputError
        If there is no such file, it is a folder, cannot be read, is empty, or is not UTF-8 (with the line's number).
    """
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield number, _decoded(path, number, line).removesuffix("\n").removesuffix("\r")
    except FileNotFoundError:
        raise InputError(f"{path}: must be a text file; there is no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: must be a text file; it is a folder") from None
    except OSError as error:
        raise InputError(f"{path}: must be a text file that can be read; got: {error.strerror or error}") from None
    if number == 0:
        raise InputError(f"{path}: must hold at least one line; it is empty")


def _decoded(path: Path, number: int, line: bytes) -> str:
    """The text of a line; an ``InputError`` where it is not UTF-8."""
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise broken(path, number, "must be UTF-8", bytes([error.object[error.start]])) from None


def broken(path: Path, number: int, rule: str, came: object) -> InputError:
    """The error of a line that breaks a rule."""
    return InputError(f"{path}, line {number}: {rule}; got {shown(came)}")


def data_package(module: str, package: str, what: str) -> Any:
    """A module of an optional package that carries data.

    Raises
    ------
    InputError
        If it is not installed, with what to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        need = f"{what} need the package {package} in the controller's Python"
        raise InputError(f"{need}; it is missing: python -m pip install {package}") from None
