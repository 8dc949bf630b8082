"""Files that are written side by side."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common.tensorfile import write_bytes


def test_threads_that_write_at_once_leave_the_umask_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, before = os.umask, os.umask(0o027)

    def slow(mask: int) -> int:
        mask_before = real(mask)
        time.sleep(0.01)  # long enough for another thread to come in between
        return mask_before

    try:
        monkeypatch.setattr(os, "umask", slow)
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda number: write_bytes(tmp_path / str(number), b"content"), range(8)))
        monkeypatch.undo()
        assert real(0o027) == 0o027
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}
    finally:
        real(before)
