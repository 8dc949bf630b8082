"""The store gives back what was put in, keeps it through kill -9, and refuses what it cannot read."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from benchmarks.analysis.noise import Floor
from benchmarks.store.migrations import refusing
from benchmarks.store.records import CRASHED, DISAGREES, Run
from benchmarks.store.schema import SCHEMA_VERSION, TABLES
from benchmarks.store.store import Store
from common.errors import InputError
from tests.benchmarks.made_up import (
    JAX,
    LINEN,
    NATIVE,
    START,
    TORCH,
    a_block,
    a_ceiling,
    a_process,
    a_row,
    a_run,
)

RUN = a_run().run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.duckdb"


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    """This code in a process of its own; it ends when its stdin does."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_every_record_comes_back_as_it_was(path: Path) -> None:
    run = a_run(label="before", seed=2**64 - 1)
    failed = a_row(RUN, LINEN, status=CRASHED, reason="signal 11", median_seconds=None, peak_host_bytes=2**40)
    with Store.open(path, write=True) as store:
        store.add_run(run)
        for environment in (TORCH, JAX):
            store.add_environment(environment)
            store.add_process(a_process(RUN, environment))
        store.add_block(a_block(RUN, samples=(1e-9, 0.1 + 0.2, 1e300)))
        store.add_ceiling(a_ceiling(RUN))
        store.put_row(a_row(RUN))
        store.put_row(failed)
    with Store.open(path) as store:
        assert store.runs() == [run]
        assert store.environments(RUN) == [TORCH, JAX]
        assert store.processes(RUN) == [a_process(RUN, TORCH), a_process(RUN, JAX)]
        assert store.blocks(RUN) == [a_block(RUN, samples=(1e-9, 0.1 + 0.2, 1e300))]
        assert store.ceilings(RUN) == [a_ceiling(RUN)]
        assert store.rows(RUN) == [a_row(RUN), failed]
        assert store.note == ""


def test_times_come_back_in_utc_whatever_their_zone(path: Path) -> None:
    elsewhere = START.astimezone(timezone(timedelta(hours=5)))
    with Store.open(path, write=True) as store:
        store.add_run(a_run(started=elsewhere))
        store.finish_run(RUN, elsewhere + timedelta(minutes=10), Floor(0.012, 0.01, 0.03, 2))
        (run,) = store.runs()
        assert store.execute("SELECT started FROM runs").fetchone() == (START.replace(tzinfo=None),)
    assert (run.started, run.started.tzinfo) == (START, UTC)
    assert run.finished == START + timedelta(minutes=10)
    assert (run.noise_floor, run.noise_floor_low, run.noise_floor_high) == (0.012, 0.01, 0.03)


def test_what_numpy_and_a_broken_log_contain_is_kept(path: Path) -> None:
    row = a_row(
        RUN,
        status=DISAGREES,
        log="half a letter \udcc3, a NUL \0",
        error_rms=np.float64(math.inf),
        samples=np.int64(3),
        bimodal=np.bool_(True),
        median_seconds=np.float32(0.5),
    )
    with Store.open(path, write=True) as store:
        store.put_row(row)
        (kept,) = store.rows(RUN)
    assert (kept.log, kept.error_rms) == ("half a letter \\udcc3, a NUL \0", math.inf)
    assert (kept.samples, kept.bimodal, kept.median_seconds) == (3, True, 0.5)


def test_a_row_takes_the_place_of_the_same_combination_alone(path: Path) -> None:
    others = [
        a_row("20261121-000000"),
        *(
            a_row(RUN, replace(NATIVE, **change))
            for change in (
                {"implementation": "torch/tuned"},
                {"case": "other"},
                {"passed": "forward"},
                {"dtype": "float64"},
                {"device": "gpu"},
                {"lane": "fast"},
                {"threads": 1},
            )
        ),
    ]
    with Store.open(path, write=True) as store:
        for row in [a_row(RUN), *others, a_row(RUN, status=CRASHED)]:
            store.put_row(row)
        assert store.rows(RUN) == [*others[1:], a_row(RUN, status=CRASHED)]
        assert store.rows("20261121-000000") == others[:1]


def test_blocks_are_those_of_the_run_the_combination_and_the_steady_state(path: Path) -> None:
    steady = [a_block(RUN, cycle=cycle, process=process) for process in (0, 1) for cycle in (0, 1)]
    warm = a_block(RUN, warmup=True)
    other = a_block(RUN, LINEN, cycle=50)
    with Store.open(path, write=True) as store:
        for block in [*reversed(steady), warm, other, a_block("another")]:
            store.add_block(block)
        assert store.blocks(RUN, NATIVE) == steady
        assert store.blocks(RUN) == [*steady[:2], other, *steady[2:]]
        assert store.blocks(RUN, NATIVE, warmup=True) == [warm]
        assert store.blocks(RUN, replace(NATIVE, threads=1)) == []


def test_adding_the_same_again_adds_nothing(path: Path) -> None:
    with Store.open(path, write=True) as store:
        for value in (1e11, 2e11):
            store.add_environment(TORCH)
            store.add_process(a_process(RUN, TORCH))
            store.add_ceiling(a_ceiling(RUN, value))
        assert store.environments() == [TORCH]
        assert store.processes(RUN) == [a_process(RUN, TORCH)]
        assert store.ceilings(RUN) == [a_ceiling(RUN, 2e11)]
        store.add_run(a_run())
        with pytest.raises(InputError, match="a run's name must be its own; got '20261120-131501'"):
            store.add_run(a_run())


def test_runs_are_found_by_name_label_last_and_beginning(path: Path) -> None:
    names = ("20261120-131501", "20261122-090000", "20261121-090000", "20261121-100000")
    labels = ("base", "", "base", "")
    with Store.open(path, write=True) as store:
        for name, label in zip(names, labels, strict=True):
            store.add_run(a_run(name, label=label))
        assert [run.run for run in store.runs()] == sorted(names)

        def names_of(text: str) -> str:
            return store.find_run(text).run

        assert names_of(names[0]) == names[0]
        assert names_of("base") == "20261121-090000"
        assert names_of("last") == "20261122-090000"
        assert names_of("20261120") == names[0]
        with pytest.raises(InputError, match=r"alone; there are 20261121-090000 \(base\), 20261121-100000$"):
            names_of("20261121")
        for text in ("nothing", ""):
            with pytest.raises(InputError, match="must be a run's name, label or beginning, or last; there are 2026"):
                names_of(text)


def test_an_empty_store_says_that_there_are_no_runs(path: Path) -> None:
    with Store.open(path, write=True) as store, pytest.raises(InputError, match="there are no runs"):
        store.find_run("last")


def test_a_run_is_resumed_by_its_fingerprint_while_it_is_not_finished(path: Path) -> None:
    with Store.open(path, write=True) as store:
        for number in range(3):
            store.add_run(a_run(f"2026112{number}-000000", fingerprint="a" if number < 2 else "b"))
        assert [store.unfinished_run(each) for each in "abc"] == [store.runs()[1], store.runs()[2], None]
        store.finish_run("20261121-000000", datetime.now(UTC), None)
        finished = store.runs()[1]
        assert store.unfinished_run("a") == store.runs()[0]
        assert store.latest_run("a") == finished
        store.finish_run("20261121-000000", None, None)
        assert store.unfinished_run("a") == a_run("20261121-000000", fingerprint="a")


def test_a_killed_process_loses_nothing_that_was_added(path: Path) -> None:
    writer = child(
        """
        import os, signal, sys
        from pathlib import Path
        from benchmarks.store.store import Store
        from tests.benchmarks.made_up import a_block, a_row, a_run
        store = Store.open(Path(sys.argv[1]), write=True)
        store.add_run(a_run())
        for cycle in range(40):
            store.add_block(a_block(a_run().run, cycle=cycle))
            store.put_row(a_row(a_run().run, samples=cycle))
        print("added", flush=True)
        store._connection.execute("BEGIN")
        store.add_block(a_block(a_run().run, cycle=40))
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        path,
    )
    writer.communicate(timeout=60)
    assert writer.returncode == -signal.SIGKILL
    log = path.with_name(path.name + ".wal")
    assert log.stat().st_size > 0, "nothing to recover: the test is void"
    with Store.open(path) as store:
        assert [block.cycle for block in store.blocks(RUN)] == list(range(40))
    with Store.open(path, write=True) as store:
        assert [row.samples for row in store.rows(RUN)] == [39]
        store.add_block(a_block(RUN, cycle=41))
        assert [block.cycle for block in store.blocks(RUN)] == [*range(40), 41]


def test_a_write_that_was_cut_off_loses_that_write_alone(path: Path) -> None:
    """What a machine leaves that lost its power in the middle of a block."""
    writer = child(
        """
        import os, signal, sys
        from pathlib import Path
        from benchmarks.store.store import Store
        from tests.benchmarks.made_up import a_block, a_run
        store = Store.open(Path(sys.argv[1]), write=True)
        for cycle in range(5):
            store.add_block(a_block(a_run().run, cycle=cycle))
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        path,
    )
    writer.communicate(timeout=60)
    log = path.with_name(path.name + ".wal")
    log.write_bytes(log.read_bytes()[:-100])
    with Store.open(path, write=True) as store:
        assert [block.cycle for block in store.blocks(RUN)] == list(range(4))


def test_a_store_that_was_killed_before_it_had_tables_is_begun_anew(path: Path) -> None:
    duckdb.connect(str(path)).close()
    with Store.open(path, write=True) as store:
        assert store.runs() == []


@pytest.mark.parametrize("write", [True, False])
def test_a_store_in_use_is_refused_with_who_has_it(path: Path, write: bool) -> None:
    Store.open(path, write=True).close()
    holder = child(
        """
        import sys
        from pathlib import Path
        from benchmarks.store.store import Store
        store = Store.open(Path(sys.argv[1]), write=True)
        print("open", flush=True)
        sys.stdin.read()
        """,
        path,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    with pytest.raises(InputError, match=f"in use by another process; got: python.*, process {holder.pid}, has it"):
        Store.open(path, write=write)
    holder.communicate(timeout=60)
    Store.open(path, write=write).close()


def test_ctrl_c_in_the_middle_of_a_query_is_an_interrupt(path: Path) -> None:
    long = "SELECT sum(a.range * b.range) FROM range(60_000) a, range(60_000) b"
    with Store.open(path, write=True) as store:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            store.execute(long)


def with_sql(*statements: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with duckdb.connect(str(path)) as connection:
            for statement in statements:
                connection.execute(statement)

    return write


def with_store(*statements: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with Store.open(path, write=True) as store:
            for statement in statements:
                store.execute(statement)

    return write


BAD_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a folder": (Path.mkdir, "must be a store; got a folder"),
    "text": (lambda path: path.write_text("no store" * 999), "must be a store, a DuckDB file; got another kind"),
    "another DuckDB file": (with_sql("CREATE TABLE t (i INTEGER)"), "got a DuckDB file without the table 'store'"),
    "no version": (with_store("DELETE FROM store"), "with a schema version; got None"),
    "a newer version": (
        with_store("UPDATE store SET schema_version = 99"),
        f"must have schema version ≤ {SCHEMA_VERSION}; got 99; upgrade birnn",
    ),
    "an older version that nothing migrates": (
        with_store("UPDATE store SET schema_version = 0"),
        f"must have a schema version from 1 to {SCHEMA_VERSION}; got 0",
    ),
    "a table that is missing": (with_store("DROP TABLE blocks"), "without the column blocks.run"),
    "a column that is missing": (with_store("ALTER TABLE rows DROP binding"), "without the column rows.binding"),
}


@pytest.mark.parametrize("write", [True, False])
@pytest.mark.parametrize("kind", BAD_FILES)
def test_what_is_no_store_is_refused_and_left_as_it_is(path: Path, kind: str, write: bool) -> None:
    make, sentence = BAD_FILES[kind]
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(InputError) as caught:
        Store.open(path, write=write)
    assert str(caught.value).startswith(f"{path}: ")
    assert sentence in str(caught.value)
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_a_truncated_store_is_refused(path: Path) -> None:
    with Store.open(path, write=True) as store:
        store.put_row(a_row(RUN))
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(InputError, match="must be a store that can be read and written; got: IO Error"):
        Store.open(path)


def test_a_damaged_store_is_refused(path: Path) -> None:
    Store.open(path, write=True).close()
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"must be a store that can be read and written; got: .*checksum"):
        Store.open(path)


def test_a_file_of_a_newer_duckdb_is_refused(path: Path) -> None:
    """What DuckDB 1.1.3 says of a file that 2.0.0 wrote in its own format."""
    text = "IO Error: Trying to read a database file with version number 999, but we can only read version 64.\nThe …"
    with pytest.raises(InputError) as caught, refusing(path):
        raise duckdb.IOException(text)
    assert "must be of a DuckDB not newer than the installed" in str(caught.value)
    assert str(caught.value).endswith("we can only read version 64; upgrade duckdb")


def test_a_store_that_is_missing_or_in_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        Store.open(tmp_path / "none.duckdb")
    with pytest.raises(InputError, match="must be in a folder that exists"):
        Store.open(tmp_path / "none" / "results.duckdb", write=True)
    assert list(tmp_path.iterdir()) == []


def test_without_duckdb_a_sentence_says_how_to_get_it() -> None:
    code = """
        import sys
        sys.modules["duckdb"] = None
        from pathlib import Path
        from benchmarks.store.store import Store
        from common.errors import InputError
        try:
            Store.open(Path("x"))
        except InputError as error:
            print(error)
        """
    assert "install it with: pip install 'birnn[bench]'" in child(code).communicate(timeout=60)[0]


def test_files_are_of_the_format_that_every_duckdb_since_1_0_reads(path: Path) -> None:
    Store.open(path, write=True).close()
    assert int.from_bytes(path.read_bytes()[12:20], "little") == 64


def test_the_tables_have_the_columns_that_the_records_have(path: Path) -> None:
    with Store.open(path, write=True) as store:
        for table, columns in TABLES.items():
            described = store.execute(f"DESCRIBE {table}").fetchall()
            assert [(name, kind) for name, kind, *_ in described] == [
                (name, kind.removesuffix(" NOT NULL").removesuffix(" PRIMARY KEY")) for name, kind in columns.items()
            ]
        assert set(Run.__dataclass_fields__) == set(TABLES["runs"])
