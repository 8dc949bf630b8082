"""Files that spare a computation: each begins with a hash of the rest, so that a damaged one is as good as none.

Whoever keeps them names a file by all that its content follows from. Any of them may be gone at any time, and a folder
that cannot be written costs no more than the next computation.
"""

from __future__ import annotations

import hashlib
import stat
from contextlib import suppress
from pathlib import Path

from common.errors import InputError
from common.output import write_bytes

DIGEST = hashlib.sha256().digest_size
"""Bytes of the hash that a file begins with."""


def read_kept(path: Path) -> bytes | None:
    """What was kept in a file, which is then the one used last; None where there is none, or not a whole one."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    body = content[DIGEST:]
    if hashlib.sha256(body).digest() != content[:DIGEST]:
        return None
    with suppress(OSError):
        path.touch()
    return body


def keep(path: Path, body: bytes) -> None:
    """Write a file, whole or not at all; on a full disk, or where only others may write, nothing is kept."""
    with suppress(InputError, OSError):
        write_bytes(path, hashlib.sha256(body).digest() + body, durable=False)


def make_room(folder: Path, most_bytes: int) -> None:
    """Remove the files unused for longest, so that at most so many bytes are left in a folder."""
    files = []
    with suppress(OSError):  # where there is none; another process may do the same
        for file in folder.iterdir():
            with suppress(OSError):
                known = file.lstat()
                if stat.S_ISREG(known.st_mode):
                    files.append((known.st_mtime, known.st_size, file))
    left = sum(size for _, size, _ in files)
    for _, size, file in sorted(files):
        if left <= most_bytes:
            return
        with suppress(OSError):
            file.unlink()
            left -= size
