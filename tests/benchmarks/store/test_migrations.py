"""An older store is migrated on a copy, whole or not at all, and the original stays."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import duckdb
import pytest

from benchmarks.store.migrations import MIGRATIONS
from benchmarks.store.schema import SCHEMA_VERSION
from benchmarks.store.store import Store
from common.errors import InputError
from tests.benchmarks.made_up import LINEN, a_block, a_row, a_run
from tests.benchmarks.store.test_store import child

RUN = a_run().run


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of a made-up version 0, in which runs had no label and rows said ``time`` for ``median_seconds``."""

    def forward(connection: Any) -> None:
        connection.execute("ALTER TABLE rows RENAME time TO median_seconds")
        connection.execute("ALTER TABLE runs ADD COLUMN label VARCHAR DEFAULT 'none'")

    monkeypatch.setitem(MIGRATIONS, 0, forward)
    path = tmp_path / "results.duckdb"
    with Store.open(path, write=True) as store:
        store.add_run(a_run())
        store.put_row(a_row(RUN, median_seconds=0.25))
        for statement in (
            "ALTER TABLE rows RENAME median_seconds TO time",
            "ALTER TABLE runs DROP label",
            "UPDATE store SET schema_version = 0",
        ):
            store.execute(statement)
    return path


def assert_migrated(store: Store) -> None:
    assert store.runs() == [a_run(label="none")]
    assert store.rows(RUN) == [a_row(RUN, median_seconds=0.25)]
    assert store.execute("SELECT schema_version FROM store").fetchall() == [(SCHEMA_VERSION,)]


def test_an_older_store_is_read_through_a_copy_and_stays_as_it_is(older: Path) -> None:
    before = older.read_bytes()
    with Store.open(older) as store:
        assert_migrated(store)
        assert store.note.endswith(f"read through a migrated copy; from schema version 0 to {SCHEMA_VERSION}")
    assert older.read_bytes() == before
    assert list(older.parent.iterdir()) == [older]


def test_an_older_store_is_migrated_to_write_and_the_original_kept(older: Path) -> None:
    taken = older.with_name("results.v0.duckdb")
    taken.write_text("mine")
    with Store.open(older, write=True) as store:
        assert_migrated(store)
        store.add_block(a_block(RUN))
        assert str(older.with_name("results.v0-2.duckdb")) in store.note
    with Store.open(older) as store:
        assert store.note == ""
        assert store.blocks(RUN) == [a_block(RUN)]
    names = {"results.duckdb", "results.v0.duckdb", "results.v0-2.duckdb"}
    assert {file.name for file in older.parent.iterdir()} == names
    assert taken.read_text() == "mine"
    with duckdb.connect(str(older.with_name("results.v0-2.duckdb"))) as connection:
        assert connection.execute("SELECT schema_version FROM store").fetchall() == [(0,)]
        assert connection.execute("SELECT time FROM rows").fetchall() == [(0.25,)]


def test_an_older_store_of_a_killed_process_is_migrated_with_all_of_it(older: Path) -> None:
    writer = child(
        """
        import os, signal, sys
        import duckdb
        connection = duckdb.connect(sys.argv[1])
        connection.execute("UPDATE rows SET time = 0.5")
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        older,
    )
    writer.communicate(timeout=60)
    with Store.open(older) as store:
        assert store.rows(RUN)[0].median_seconds == 0.5
    with Store.open(older, write=True) as store:
        assert store.rows(RUN)[0].median_seconds == 0.5


def test_version_1_had_the_floor_as_a_logarithm(tmp_path: Path) -> None:
    path = tmp_path / "results.duckdb"
    with Store.open(path, write=True) as store:
        store.add_run(a_run(noise_floor=math.log(1.13)))
        store.put_row(a_row(RUN))
        for table in ("runs", "rows"):
            for column in ("noise_floor", "noise_floor_low", "noise_floor_high"):
                if (table, column) != ("runs", "noise_floor"):
                    store.execute(f"ALTER TABLE {table} DROP {column}")
        store.execute("UPDATE store SET schema_version = 1")
    with Store.open(path) as store:
        assert store.runs() == [a_run(noise_floor=pytest.approx(0.13))]
        assert store.rows(RUN) == [a_row(RUN)]


def test_version_2_had_not_looked_who_else_was_at_work(tmp_path: Path) -> None:
    path = tmp_path / "results.duckdb"
    with Store.open(path, write=True) as store:
        store.add_run(a_run())
        store.put_row(a_row(RUN))
        store.execute("DROP TABLE looks")
        for column in ("others_cpu", "under_load"):
            store.execute(f"ALTER TABLE rows DROP {column}")
        store.execute("UPDATE store SET schema_version = 2")
    with Store.open(path) as store:
        assert store.looks(RUN) == []
        assert store.rows(RUN) == [a_row(RUN, others_cpu=None, under_load=None)]


def test_version_3_had_no_throughput_and_another_memory(tmp_path: Path) -> None:
    path = tmp_path / "results.duckdb"
    with Store.open(path, write=True) as store:
        store.add_run(a_run())
        store.put_row(a_row(RUN, peak_host_bytes=0))
        store.put_row(a_row(RUN, LINEN, peak_host_bytes=7))
        for column in ("p95_seconds", "p99_seconds", "rows_per_second", "steps_per_second"):
            store.execute(f"ALTER TABLE rows DROP {column}")
        store.execute("UPDATE store SET schema_version = 3")
    with Store.open(path) as store:
        assert store.rows(RUN) == [a_row(RUN), a_row(RUN, LINEN)]


def test_a_migration_that_fails_changes_nothing(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MIGRATIONS, 0, lambda connection: connection.execute("ALTER TABLE rows DROP nothing"))
    before = older.read_bytes()
    for write in (True, False):
        with pytest.raises(InputError, match=r"must be a store of schema version 0; got: .*nothing"):
            Store.open(older, write=write)
    assert older.read_bytes() == before
    assert list(older.parent.iterdir()) == [older]
