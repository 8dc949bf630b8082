"""Kept files: whole or none, and those unused for longest make room."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.interface.kept_files import keep, make_room, read_kept


def test_what_was_kept_is_read_and_counts_as_used(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "file"
    assert read_kept(file) is None
    keep(file, b"content")
    os.utime(file, (9, 9))
    assert read_kept(file) == b"content"
    assert file.stat().st_mtime > 9


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-1], lambda content: b"", lambda content: content[:-1] + b"x", lambda _: b"\0"]
)
def test_a_damaged_file_is_none(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    file = tmp_path / "file"
    keep(file, b"content")
    file.write_bytes(damage(file.read_bytes()))
    assert read_kept(file) is None


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    keep(tmp_path / "file" / "within", b"content")
    make_room(tmp_path / "file", 0)
    make_room(tmp_path / "nowhere", 0)
    assert [*tmp_path.iterdir()] == [tmp_path / "file"]


def test_files_unused_for_longest_make_room_and_what_is_no_file_stays(tmp_path: Path) -> None:
    files = [tmp_path / str(number) for number in range(5)]
    for number, file in enumerate(files):
        file.write_bytes(bytes(10))
        os.utime(file, (9 - number, 9 - number))
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    os.mkfifo(tmp_path / "pipe")
    make_room(tmp_path, 25)
    assert [file.exists() for file in files] == [True, True, False, False, False]
    make_room(tmp_path, -1)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["folder", "link", "pipe"]
