"""birnn probe against a record of what was found before, on a backend whose probes are known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command_line.running import birnn
from tests.registered import register
from tests.workers.misbehaving import BACKEND


def test_a_status_that_is_another_one_than_the_record_s_is_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, BACKEND)
    same, other = tmp_path / "same.json", tmp_path / "other.json"
    probe = ("probe", "--only", "*/halves-*")
    done = birnn(*probe, "--json", same)
    assert (done.returncode, done.stderr.strip()) == (0, f"birnn: wrote the findings: {same}")
    assert "1 present" in done.stdout
    record = json.loads(same.read_text())
    record["findings"][0]["status"] = "fixed"
    other.write_text(json.dumps(record))
    done = birnn(*probe, "--expect", same)
    assert (done.returncode, done.stderr.strip()) == (0, "")
    done = birnn(*probe, "--expect", other)
    assert (done.returncode, done.stderr.strip()) == (1, "birnn: misbehaving/halves-are-swapped: fixed became present")
