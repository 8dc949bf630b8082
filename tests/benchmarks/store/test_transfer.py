"""Stores are merged without losing or doubling a run, and exported as rows that others can read."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest

from benchmarks.analysis.noise import Floor
from benchmarks.store.migrations import MIGRATIONS
from benchmarks.store.records import CRASHED
from benchmarks.store.schema import TABLES
from benchmarks.store.store import Store
from benchmarks.store.transfer import EXPORTED_OF_THE_RUN, export, merge
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
    an_empty_store,
    put_all,
)

FIRST, SECOND = "20261120-131501", "20261121-090000"
PUBLIC = (
    "run implementation framework cell case seq_len batch input_size hidden_size num_layers ragged pass dtype device "
    "lane threads status reason median_seconds low_seconds high_seconds first_call_seconds fraction_of_limit"
)


def a_store(path: Path, *runs: str, blocks: int = 2, finished: bool = True, **changes: Any) -> Path:
    """A store with these runs, each with a process, ``blocks`` blocks, a ceiling and a row."""
    if path.exists():
        add_runs(path, runs, blocks, finished, changes)
    else:
        path.write_bytes(stored(runs, blocks, finished, tuple(changes.items())))
    return path


@cache
def stored(runs: tuple[str, ...], blocks: int, finished: bool, changes: tuple[tuple[str, Any], ...]) -> bytes:
    """The file of such a store, which most tests have the same of, made once in a process."""
    with TemporaryDirectory() as folder:
        path = an_empty_store(Path(folder) / "store.duckdb")
        add_runs(path, runs, blocks, finished, dict(changes))
        return path.read_bytes()


def add_runs(path: Path, runs: Sequence[str], blocks: int, finished: bool, changes: dict[str, Any]) -> None:
    with Store.open(path, write=True) as store, store.transaction():
        for run in runs:
            store.add_environment(TORCH)
            store.add_run(a_run(run, **changes))
            store.add_process(a_process(run, TORCH))
            put_all(store, [a_block(run, cycle=cycle) for cycle in range(blocks)])
            store.add_ceiling(a_ceiling(run))
            put_all(store, [a_row(run, samples=3 * blocks)])
            if finished:
                store.finish_run(run, START + timedelta(minutes=blocks), Floor(0.01, 0.005, 0.02, 1))


def content(path: Path) -> dict[str, list[Any]]:
    """All lines of a store."""
    with duckdb.connect(str(path), read_only=True) as connection:
        return {name: connection.execute(f"FROM {name} ORDER BY ALL").fetchall() for name in TABLES if name != "store"}


def only(path: Path) -> list[str]:
    return [each.name for each in path.parent.iterdir()]


def test_runs_of_several_stores_come_into_one_with_all_of_theirs(tmp_path: Path) -> None:
    one = a_store(tmp_path / "one.duckdb", FIRST)
    two = a_store(tmp_path / "two.duckdb", SECOND, fingerprint="g")
    with Store.open(two, write=True) as store:
        store.add_environment(JAX)
        store.put_row(a_row(SECOND, LINEN))
    done = merge(tmp_path / "out.duckdb", [one, two])
    assert [line.rpartition(": ")[2] for line in done] == [f"{FIRST} added", f"{SECOND} added"]
    with Store.open(tmp_path / "out.duckdb") as merged, Store.open(one) as first, Store.open(two) as second:
        assert [run.run for run in merged.runs()] == [FIRST, SECOND]
        for run, store in ((FIRST, first), (SECOND, second)):
            for read in (Store.rows, Store.blocks, Store.processes, Store.ceilings, Store.environments):
                assert read(merged, run) == read(store, run) != [], (run, read)
            assert merged.find_run(run) == store.find_run(run)
        assert merged.environments() == [TORCH, JAX]


def test_an_existing_store_keeps_its_runs_and_gets_the_others(tmp_path: Path) -> None:
    out = a_store(tmp_path / "out.duckdb", FIRST)
    other = a_store(tmp_path / "other.duckdb", SECOND, fingerprint="g")
    before = content(other)
    merge(out, [other])
    with Store.open(out) as store:
        assert [run.run for run in store.runs()] == [FIRST, SECOND]
    assert content(other) == before
    assert sorted(only(out)) == ["other.duckdb", "out.duckdb"]


def test_the_same_run_twice_is_kept_once(tmp_path: Path) -> None:
    one = a_store(tmp_path / "one.duckdb", FIRST)
    (tmp_path / "two.duckdb").write_bytes(one.read_bytes())
    out = tmp_path / "out.duckdb"
    assert "is there already" in merge(out, [one, tmp_path / "two.duckdb"])[-1]
    assert content(out) == content(one)
    merge(out, [one])
    assert content(out) == content(one)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("longer", [{"blocks": 5}, {"blocks": 2, "finished": True}])
def test_of_two_states_of_a_run_the_later_is_kept(tmp_path: Path, longer: dict[str, Any], swapped: bool) -> None:
    early = a_store(tmp_path / "early.duckdb", FIRST, finished=False)
    late = a_store(tmp_path / "late.duckdb", FIRST, **longer)
    done = merge(tmp_path / "out.duckdb", [late, early] if swapped else [early, late])
    assert ("is there already" if swapped else "took the place of an earlier state") in done[-1]
    assert content(tmp_path / "out.duckdb") == content(late)


def test_a_run_that_went_on_in_two_stores_is_refused_and_nothing_written(tmp_path: Path) -> None:
    one, two = (a_store(tmp_path / name, FIRST) for name in ("one.duckdb", "two.duckdb"))
    for path, cycle in ((one, 10), (two, 11)):
        with Store.open(path, write=True) as store:
            store.add_block(a_block(FIRST, cycle=cycle))
    before = one.read_bytes()
    for out in (tmp_path / "out.duckdb", one):
        with pytest.raises(InputError, match=f"run {FIRST} must go on in one store alone; got 1 blocks and processes"):
            merge(out, [two] if out == one else [one, two])
    assert one.read_bytes() == before
    assert sorted(only(one)) == ["one.duckdb", "two.duckdb"]


def test_another_run_of_a_taken_name_is_renamed_and_known_the_next_time(tmp_path: Path) -> None:
    one = a_store(tmp_path / "one.duckdb", FIRST)
    two = a_store(tmp_path / "two.duckdb", FIRST, blocks=4, fingerprint="another machine")
    three = a_store(tmp_path / "three.duckdb", FIRST, blocks=3, seed=12)
    out = tmp_path / "out.duckdb"
    done = merge(out, [one, two, three])
    assert done[1].endswith(f"{FIRST} added as {FIRST}-2: another run has its name")
    names = [FIRST, f"{FIRST}-2", f"{FIRST}-3"]
    with Store.open(out) as store:
        assert sorted(run.run for run in store.runs()) == names
        assert [len(store.blocks(name)) for name in names] == [2, 4, 3]
        assert [row.samples for name in names for row in store.rows(name)] == [6, 12, 9]
    before = content(out)
    assert all(line.endswith("is there already") for line in merge(out, [three, two, one]))
    assert content(out) == before


def test_merge_refuses_what_is_no_store_and_leaves_the_target(tmp_path: Path) -> None:
    out = a_store(tmp_path / "out.duckdb", FIRST)
    before = out.read_bytes()
    (tmp_path / "text").write_text("text")
    for source, sentence in (
        (tmp_path / "none.duckdb", "there is no such file"),
        (tmp_path / "text", "got another kind of file"),
        (out, "must not be merged into itself"),
    ):
        with pytest.raises(InputError, match=sentence):
            merge(out, [source])
    with pytest.raises(InputError, match="must be in a folder that exists"):
        merge(tmp_path / "none" / "out.duckdb", [out])
    with pytest.raises(InputError, match="got another kind of file"):
        merge(tmp_path / "text", [out])
    assert out.read_bytes() == before
    assert sorted(only(out)) == ["out.duckdb", "text"]


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("CREATE VIEW mine AS SELECT 1", "two.duckdb: must hold tables alone, .* got the view 'mine'"),
        ("CREATE MACRO count(a) AS 0", "two.duckdb: must hold tables alone, .* got the macro 'count'"),
    ],
)
def test_nothing_that_a_merged_store_brings_is_run(tmp_path: Path, statement: str, sentence: str) -> None:
    """Also not of the second of two: what all of them bring is asked for once."""
    out, one = tmp_path / "out.duckdb", a_store(tmp_path / "one.duckdb", FIRST)
    two = a_store(tmp_path / "two.duckdb", SECOND, fingerprint="g")
    with duckdb.connect(str(two)) as connection:
        connection.execute(statement)
    with pytest.raises(InputError, match=sentence):
        merge(out, [one, two])
    assert sorted(only(out)) == ["one.duckdb", "two.duckdb"]


def test_an_older_store_is_merged_through_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(connection: Any) -> None:
        connection.execute("ALTER TABLE rows RENAME time TO median_seconds")

    monkeypatch.setitem(MIGRATIONS, 0, forward)
    older = a_store(tmp_path / "older.duckdb", FIRST, finished=False)
    expected = content(older)
    with Store.open(older, write=True) as store:
        store.execute("ALTER TABLE rows RENAME median_seconds TO time")
        store.execute("UPDATE store SET schema_version = 0")
    before = older.read_bytes()
    done = merge(tmp_path / "out.duckdb", [older])
    assert "migrated copy, from schema version 0" in done[0]
    assert content(tmp_path / "out.duckdb") == expected
    assert older.read_bytes() == before


def test_a_path_with_quotes_is_a_path(tmp_path: Path) -> None:
    one = a_store(tmp_path / 'it\'s "one".duckdb', FIRST)
    merge(tmp_path / "o'ut.duckdb", [one])
    with Store.open(tmp_path / "o'ut.duckdb") as store:
        assert export(store, tmp_path / "ro'ws.csv") == 1
    assert content(tmp_path / "o'ut.duckdb") == content(one)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A store with two runs, one of them with a failure and hostile texts."""
    path = a_store(tmp_path / "results.duckdb", FIRST)
    a_store(path, SECOND, fingerprint="g", label="later")
    with Store.open(path, write=True) as store:
        store.add_environment(JAX)
        hostile = 'a "quote",\na line; =1+1'
        store.put_row(a_row(SECOND, LINEN, status=CRASHED, median_seconds=None, reason=hostile, error_rms=math.inf))
    return path


def test_csv_has_one_line_a_combination_and_the_public_columns(exported: Path, tmp_path: Path) -> None:
    with Store.open(exported) as store:
        assert export(store, tmp_path / "all.csv") == 3
        assert export(store, tmp_path / "one.csv", SECOND) == 2
    with (tmp_path / "all.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == [*TABLES["rows"], "framework_version", *EXPORTED_OF_THE_RUN]
    assert list(lines[0])[: len(PUBLIC.split())] == PUBLIC.split()
    assert [line["run"] for line in lines] == [FIRST, SECOND, SECOND]
    measured, _, failed = lines
    assert (float(measured["median_seconds"]), measured["case"], measured["pass"]) == (0.3, NATIVE.case, NATIVE.passed)
    assert (measured["framework_version"], failed["framework_version"]) == ("2.13.0+x", "0.10.2")
    assert (failed["status"], failed["median_seconds"], failed["label"]) == (CRASHED, "", "later")
    assert failed["reason"] == 'a "quote",\na line; =1+1'
    assert float(failed["error_rms"]) == math.inf
    assert sum(1 for _ in csv.reader((tmp_path / "one.csv").open(newline=""))) == 3


def test_parquet_keeps_types_and_missing_values(exported: Path, tmp_path: Path) -> None:
    with Store.open(exported) as store:
        export(store, tmp_path / "rows.parquet")
    with duckdb.connect() as connection:
        result = connection.execute(f"FROM '{tmp_path}/rows.parquet'")
        names = [column[0] for column in result.description]
        *_, failed = (dict(zip(names, line, strict=True)) for line in result.fetchall())
    assert (failed["median_seconds"], failed["ragged"], failed["seq_len"]) == (None, False, 100)
    assert failed["kernels"] == ["gemm", "a kernel, with a comma"]


def test_a_row_of_an_unknown_environment_is_exported_all_the_same(tmp_path: Path) -> None:
    path = a_store(tmp_path / "results.duckdb", FIRST)
    with Store.open(path, write=True) as store:
        store.put_row(replace(a_row(FIRST, LINEN), environment=""))
        assert export(store, tmp_path / "rows.csv") == 2


def test_export_refuses_other_endings_and_places_and_replaces_whole(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "rows.csv").write_text("old")
    with Store.open(exported) as store:
        for name, sentence in (
            ("rows.xlsx", "must end in .csv or .parquet; got .xlsx"),
            ("rows", "must end in .csv or .parquet; got no ending"),
            ("folder.csv", "must be a file that can be written"),
            ("file/rows.csv", "must be a file that can be written"),
        ):
            with pytest.raises(InputError) as caught:
                export(store, tmp_path / name)
            assert sentence in str(caught.value)
        assert (tmp_path / "rows.csv").read_text() == "old"
        export(store, tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text().startswith("run,implementation,")
    assert sorted(only(exported)) == ["file", "folder.csv", "results.duckdb", "rows.csv"]
