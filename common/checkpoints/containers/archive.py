"""Zip archives: entries that lie uncompressed in a file are read where they lie, and nothing is ever unpacked."""

from __future__ import annotations

import io
import json
import shutil
import struct
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO

import numpy as np

from common.checkpoints.blocks import pieces
from common.checkpoints.limits import MOST_HEADER, MOST_TENSORS, checked_name
from common.errors import InputError, shown

LOCAL_HEADER = 30
"""Bytes of an entry's header before its name (PKWARE APPNOTE 4.3.7)."""
MOVED_AT_ONCE = 2**20
"""Bytes of a file that are moved at a time; they stay in a core's cache."""


class Archive:
    """A zip archive in a file's bytes; every sentence of its errors lacks the file's name."""

    def __init__(self, path: Path, content: np.ndarray) -> None:
        self._path, self._content = path, content
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
            raise InputError(f"must be a whole zip archive; got: {error}") from None
        if len(entries) > 2 * MOST_TENSORS:
            raise InputError(f"must have at most {2 * MOST_TENSORS:,} entries; got {len(entries):,}")
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            name = checked_name(entry.filename, "an archive")
            if name.startswith("/") or ".." in PurePosixPath(name).parts or "\\" in name:
                raise InputError(f"an archive's entries must stay within it; got {shown(name)}")
            if name in self._entries:
                raise InputError(f"an archive's entries must have names of their own; got {shown(name)} twice")
            self._entries[name] = entry

    @property
    def names(self) -> list[str]:
        """Every entry's name."""
        return list(self._entries)

    def small(self, name: str) -> bytes:
        """A whole entry of at most ``MOST_HEADER`` bytes, compressed or not."""
        entry = self._entry(name)
        if entry.file_size > MOST_HEADER:
            raise InputError(f"{name} must have at most {MOST_HEADER:,} bytes; got {entry.file_size:,}")
        try:
            with zipfile.ZipFile(self._path) as archive, archive.open(entry) as file:
                content = file.read(MOST_HEADER + 1)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, RuntimeError) as error:
            raise InputError(f"{name} must be readable; got: {error}") from None
        if len(content) != entry.file_size:
            raise InputError(f"{name} must have {entry.file_size:,} bytes; got {len(content):,}")
        return content

    def json(self, name: str) -> Any:
        """An entry as JSON."""
        try:
            return json.loads(self.small(name))
        except RecursionError:
            raise InputError(f"{name} must be JSON; got one that is nested too deep") from None
        except ValueError as error:
            raise InputError(f"{name} must be JSON; got {error}") from None

    def stored(self, name: str) -> np.ndarray:
        """An entry's bytes where they lie, which are not compressed, as torch and Keras leave them."""
        entry = self._entry(name)
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise InputError(f"{name} must be stored without compression; got a compressed one")
        header = self._content[entry.header_offset : entry.header_offset + LOCAL_HEADER].tobytes()
        if len(header) < LOCAL_HEADER or header[:4] != b"PK\x03\x04":
            raise InputError(f"{name} must lie where the archive says; it does not")
        name_size, extra_size = struct.unpack("<HH", header[26:30])
        start = entry.header_offset + LOCAL_HEADER + name_size + extra_size
        if start + entry.file_size > self._content.size:
            raise InputError(f"{name} must lie within its file; it ends after it")
        return self._content[start : start + entry.file_size]

    def _entry(self, name: str) -> zipfile.ZipInfo:
        """An entry's header by its name, if there is one."""
        if name not in self._entries:
            raise InputError(f"must have the entry {shown(name)}; it is missing")
        return self._entries[name]


def stored_entry(archive: zipfile.ZipFile, name: str, value: np.ndarray) -> None:
    """Write an array's bytes, C order, as an entry without compression."""
    with _entry_of(archive, name, value.nbytes) as entry:
        for piece in pieces(value):
            entry.write(piece)


def moved_entry(archive: zipfile.ZipFile, name: str, file: BinaryIO) -> None:
    """Write a whole file as an entry without compression."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    with _entry_of(archive, name, size) as entry:
        shutil.copyfileobj(file, entry, MOVED_AT_ONCE)


def _entry_of(archive: zipfile.ZipFile, name: str, size: int) -> IO[bytes]:
    """A new entry without compression, to be written; its date is always the same."""
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    return archive.open(info, "w", force_zip64=size >= 2**31 - 1)
