"""Folders of this process's own: the one through which controller and workers exchange arrays, in shared memory where
there is room, and others that are removed with it.

Each holds a lock file that its owner keeps locked (flock): the kernel lets go of it when the owner dies, however it
dies, and knows of it in every container that shares the folder, as process ids are not. What nobody holds is an orphan.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from common.errors import InputError

EXCHANGE, PROGRAMS = "exchange", "programs"
"""What a folder is for, as its name says: arrays, or compiled programs."""
KINDS = (EXCHANGE, PROGRAMS)
"""Every purpose of such a folder."""
LOCK = "lock"
"""The name of the lock file in each."""
SHARED_MEMORY = Path("/dev/shm")
"""The folder of Linux's shared memory."""
ROOM = 1 << 30
"""Bytes that have to be free in shared memory for it to be used; Docker gives 64 MiB unless told otherwise."""


@contextlib.contextmanager
def exchange_folder() -> Iterator[Path]:
    """A folder for arrays, removed at the end: in shared memory, or where that is small or cannot be written, in the
    temporary folder.
    """
    with owned_folder(EXCHANGE, _bases()) as folder:
        yield folder


@contextlib.contextmanager
def programs_folder() -> Iterator[Path]:
    """A temporary folder for compiled programs, removed at the end."""
    with owned_folder(PROGRAMS, [_temporary()]) as folder:
        yield folder


@contextlib.contextmanager
def owned_folder(kind: str, bases: Sequence[Path]) -> Iterator[Path]:
    """A folder in the first of ``bases`` that can be written, locked, and removed at the end; orphans are removed
    first.

    Raises
    ------
    InputError
        If none can be written.
    """
    for base in dict.fromkeys([SHARED_MEMORY, *bases]):
        remove_orphans(base)
    folder, lock = _make(kind, bases)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_orphans(base: Path) -> None:
    """Remove the folders in ``base`` that this user's processes left behind; whatever else is there is left alone."""
    name = re.compile(rf"birnn-(?:{'|'.join(KINDS)})-{os.getuid()}-\w+")
    with contextlib.suppress(OSError):
        for folder in [each for each in base.iterdir() if name.fullmatch(each.name)]:
            _remove_orphan(folder)


def _remove_orphan(folder: Path) -> None:
    """Remove a folder that is this user's and that no process holds."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # removed by another sweep, a link, no folder, or not for us
        return
    try:
        if os.fstat(descriptor).st_uid == os.getuid():
            lock = _lock(descriptor, wait=False)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)
    finally:
        os.close(descriptor)


def _bases() -> list[Path]:
    """Where an exchange folder may lie, the best first."""
    temporary = _temporary()
    room = _free(SHARED_MEMORY)
    return [SHARED_MEMORY, temporary] if room >= ROOM or room > _free(temporary) else [temporary, SHARED_MEMORY]


def _temporary() -> Path:
    """The folder for temporary files; an ``InputError`` where there is none."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise InputError(f"TMPDIR must name a folder that can be written; got: {error.strerror}") from None


def _free(base: Path) -> int:
    """Bytes that are free; 0 where nothing can be written."""
    if not os.access(base, os.W_OK | os.X_OK):
        return 0
    room = os.statvfs(base)
    return room.f_bavail * room.f_frsize


def _make(kind: str, bases: Sequence[Path]) -> tuple[Path, int]:
    """A new folder and the descriptor of its lock."""
    reason = ""
    for base in bases:
        try:
            while True:
                folder = Path(tempfile.mkdtemp(prefix=f"birnn-{kind}-{os.getuid()}-", dir=base))
                with contextlib.suppress(FileNotFoundError):  # another process's sweep came in between: once more
                    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                    try:
                        lock = _lock(descriptor, wait=True)
                    finally:
                        os.close(descriptor)
                    if lock is not None:
                        return folder, lock
        except OSError as error:
            reason = reason or f"{base}: {error.strerror}"
    raise InputError(f"TMPDIR must name a folder that can be written; got {reason}")


def _lock(folder: int, wait: bool) -> int | None:
    """The descriptor of a folder's lock file, locked; None when another process holds it, or has removed the file."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        lock = os.open(LOCK, flags, 0o600, dir_fd=folder)
    except OSError:
        if wait:
            raise
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        if stat.S_ISREG(os.fstat(lock).st_mode) and os.path.samestat(os.fstat(lock), os.stat(LOCK, dir_fd=folder)):
            return lock
    except OSError:
        if wait and _is_there(lock):  # a file system without locks: nobody can sweep it either
            return lock
    os.close(lock)
    return None


def _is_there(descriptor: int) -> bool:
    """Whether an open file still has a name."""
    return os.fstat(descriptor).st_nlink > 0
