"""Putting a file that was written beside its place into it: whole or not at all, also when the power fails."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from common.errors import InputError

UNFINISHED = ".unfinished"
"""The end of the name of a folder in which a file is being written."""


def put_in_place(part: Path, path: Path) -> None:
    """Rename ``part`` to ``path``, with the mode of the file that was there; on disk when this returns.

    Raises
    ------
    OSError
        As the system does; ``path`` is then as it was.
    """
    with contextlib.suppress(FileNotFoundError):
        part.chmod(stat.S_IMODE(path.stat().st_mode))
    _flush(part)
    part.replace(path)
    _flush(path.parent)


def _flush(path: Path) -> None:
    """Have the kernel write a folder or a file to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """A folder on the same file system, removed at the end."""
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=UNFINISHED))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_new(path: Path) -> bool:
    """Whether there is nothing at ``path``, or a file of 0 bytes, as ``touch`` and a full disk leave.

    Raises
    ------
    InputError
        If there is something that is no file: DuckDB would wait at a FIFO for ever.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError as error:
        raise InputError(f"{path}: must be a store; got: {error.strerror}") from None
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{path}: must be a store; got a folder")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: must be a store, a regular file; got a device, FIFO or socket")
    return status.st_size == 0


def log_of(path: Path) -> Path:
    """Where DuckDB keeps the changes that have not come into a file yet."""
    return path.with_name(f"{path.name}.wal")


def identity(path: Path) -> tuple[int, int] | None:
    """What tells the file that is at ``path`` now from one that takes its place; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def make_new(path: Path, make: Callable[[Path], None]) -> None:
    """Put what ``make`` writes to the path that it is given at ``path``, where ``is_new`` holds.

    Of several processes that do so at once one makes the file, and the others find it.

    Raises
    ------
    InputError
        If the file cannot be written; nothing is left then.
    """
    place = Path(os.path.realpath(path))
    was_there = place.exists()
    try:
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            claimed = os.fstat(descriptor)
            if claimed.st_size or identity(place) != (claimed.st_dev, claimed.st_ino):
                return
            try:
                with folder_beside(place) as folder:
                    make(folder / "new")
                    log_of(place).unlink(missing_ok=True)  # of a store that was removed; it is not this one's
                    put_in_place(folder / "new", place)
            except BaseException:
                if not was_there and identity(place) == (claimed.st_dev, claimed.st_ino):
                    place.unlink()
                raise
        finally:
            os.close(descriptor)
    except OSError as error:
        raise InputError(f"{path}: must be in a folder that can be written; got: {error.strerror}") from None
