"""Folders for attacks."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path_for_all() -> Iterator[Path]:
    """A folder that other users can enter, which pytest's own they cannot."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)  # an ordinary user cannot clear a folder that may not be written
    shutil.rmtree(folder)
