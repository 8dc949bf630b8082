"""Writing what a user asked for to where the user said: a file is whole or as it was, anything else is written through.

Root can replace a device, a pipe or a link by a plain file as easily as a file; nothing here does. This module imports
no NumPy, so that options can be checked before anything is loaded.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from common.errors import InputError

WITHOUT_FSYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
"""What some file systems answer to fsync."""
MOST_LINKS = 40
"""Links that Linux follows before it gives up."""
_UMASK_READ = threading.Lock()


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write ``content`` into the file that ``path`` names, whole or not at all; links are followed.

    A file that is there keeps its mode and its owner. What is there and is no file, such as a pipe or /dev/stdout, is
    written through. ``durable`` flushes file and folder to the disk, so that a power cut leaves the old content or the
    new one; what only lives as long as this process needs none of that.

    Raises
    ------
    InputError
        If it cannot be written; what was there is as it was.
    """
    try:
        descriptor = _own_descriptor(path)
        if descriptor is not None:
            _write_all(os.dup(descriptor), content)
        elif is_written_through(path):
            _write_all(os.open(path, os.O_WRONLY | os.O_NOCTTY), content)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(Path(os.path.realpath(path)), lambda file: file.write(content), durable)
    except OSError as error:
        raise _unwritable(path, error) from None


def write_file(path: Path, write: Callable[[BinaryIO], object], *, durable: bool = True) -> None:
    """Have ``write`` fill the file that ``path`` names, which is then there whole or as it was; for what is too large
    to be held as bytes beside what it is made of, or needs a file that can be read back and moved about in.

    Raises
    ------
    InputError
        If it cannot be written, or is there and is no file; what was there is as it was.
    """
    try:
        if is_written_through(path):
            raise OSError(errno.EINVAL, "a pipe or a device")
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(Path(os.path.realpath(path)), write, durable)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> InputError:
    """The error for a file that cannot be written."""
    return InputError(
        f"{path}: must be a file that can be written, in a folder that can; got: {error.strerror or error}"
    )


def is_written_through(path: Path) -> bool:
    """Whether ``path`` is there and is no file but a pipe, a device of characters, or a descriptor of this process.

    Raises
    ------
    OSError
        If it is a folder, or a disk: writing there would destroy its file system.
    """
    if _own_descriptor(path) is not None:
        return True
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "a folder")
    if stat.S_ISBLK(mode):
        raise OSError(errno.EINVAL, "a disk")
    return not stat.S_ISREG(mode)


def _own_descriptor(path: Path) -> int | None:
    """The descriptor of this process that ``path`` leads to, as /dev/stdout does; opening it by its name would start a
    file that the shell has opened for it anew.
    """
    link = Path.cwd() / path
    for _ in range(MOST_LINKS):
        link = Path(os.path.realpath(link.parent)) / link.name
        if re.fullmatch(rf"/proc/{os.getpid()}(/task/\d+)?/fd/\d+", str(link)):
            return int(link.name)
        if not link.is_symlink():
            return None
        link = link.parent / link.readlink()
    return None


def _replace(target: Path, write: Callable[[BinaryIO], object], durable: bool) -> None:
    """Have ``write`` fill a new file beside ``target`` and give it that name, in one step."""
    before = target.stat() if target.exists() else None
    if before is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".birnn-", suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w+b") as file:
            write(file)
            file.flush()
            if before is not None:
                with contextlib.suppress(PermissionError):  # only root gives files away
                    os.fchown(handle, before.st_uid, before.st_gid)
            os.fchmod(handle, 0o666 & ~_umask() if before is None else stat.S_IMODE(before.st_mode))
            if durable:
                _flush(handle)
        try:
            temporary.replace(target)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            # A file that is mounted by itself, as containers do, cannot be replaced; it can be written.
            with temporary.open("rb") as source, os.fdopen(os.open(target, os.O_WRONLY | os.O_TRUNC), "wb") as file:
                shutil.copyfileobj(source, file)
        if durable:
            _flush_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _write_all(descriptor: int, content: bytes) -> None:
    """Write all of the content and close the file."""
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _flush(descriptor: int) -> None:
    """Have the kernel write a file to the disk, where its file system can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in WITHOUT_FSYNC:
            raise


def _flush_folder(folder: Path) -> None:
    """Flush the folder's entries; one that may be written but not read is left to the system."""
    with contextlib.suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _flush(descriptor)
        finally:
            os.close(descriptor)


def _umask() -> int:
    """The process's umask, which can only be read by setting it; so one thread at a time."""
    with _UMASK_READ:
        current = os.umask(0)
        os.umask(current)
        return current
