"""Several stores into one, and a store's rows out to CSV or Parquet."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.migrations import readable, refusing
from benchmarks.schema import TABLES, literal, quoted
from benchmarks.store import Store
from common.errors import InputError
from common.output import write_bytes
from common.terminal import CONTROLS

FORMATS = {".csv": "FORMAT csv, HEADER", ".parquet": "FORMAT parquet"}
CONTROLS_IN_RE2 = "[" + "".join(f"\\x{{{low:x}}}-\\x{{{high:x}}}" for low, high in CONTROLS if low < 0xD800) + "]"
"""All of them but surrogates, which no text of DuckDB holds."""
EXPORTED_OF_THE_RUN = ("label", "started", "finished", "noise_floor", "suite_version", "commit", "machine")
OF_A_RUN = ("processes", "blocks", "ceilings", "rows")
MEASURED_BY = ("processes", "blocks")
"""The tables that a run which goes on only adds to."""


def merge(target: Path, sources: Sequence[Path]) -> list[str]:
    """Put the runs of ``sources`` into the store ``target``, which is made where there is none; what was done.

    The merged store takes the target's place when it is whole. A run is recognised by its fingerprint, seed and start,
    whatever its name. The same run twice is kept once: the copy that went on longer. Another run of the same name gets
    a number behind its name.

    Raises
    ------
    InputError
        If a store cannot be read or written, is the target itself, or if two copies of a run went on separately.
    """
    for source in sources:
        if target.exists() and source.exists() and target.samefile(source):
            raise InputError(f"{source}: must not be merged into itself; OUT is the same file")
    done: list[str] = []
    part = _part_of(target)
    with contextlib.ExitStack() as stack:
        stack.callback(part.unlink, missing_ok=True)
        merged = stack.enter_context(Store.open(part, write=True))
        if target.exists():
            with Store.open(target, write=True) as store:  # no log of changes may lie beside the merged store
                done += [store.note] if store.note else []
            stack.enter_context(_attached(merged, target, "previous"))  # locked until the merged store is in its place
            _take(merged, target, "previous")
        for source in sources:
            with _attached(merged, source, "source") as note:
                done += [note] if note else []
                done += _take(merged, source, "source")
        with refusing(target):
            merged.execute("CHECKPOINT")
            try:
                part.replace(target)
            except OSError as error:
                raise InputError(f"{target}: must be a file that can be written; got: {error.strerror}") from None
    return done


@contextlib.contextmanager
def _attached(store: Store, path: Path, name: str) -> Iterator[str]:
    """Another store under a name in this one's SQL; what a user should know of it."""
    with readable(path) as (file, version):
        with refusing(path):
            store.execute(f"ATTACH {literal(file)} AS {name} (READ_ONLY)")
        try:
            yield "" if file == path else f"{path}: read through a migrated copy, from schema version {version}"
        finally:
            store.execute(f"DETACH {name}")


def _take(store: Store, path: Path, source: str) -> list[str]:
    """Put the runs of an attached store into this one; what was done with each."""
    done = []
    with store.transaction():
        store.execute(
            f"INSERT INTO environments BY NAME SELECT * FROM {source}.environments "
            "WHERE environment NOT IN (SELECT environment FROM environments)"
        )
        for (run,) in store.execute(f"SELECT run FROM {source}.runs ORDER BY started, rowid").fetchall():
            done.append(f"{path}: {run} {_take_run(store, path, source, run)}")
    return done


def _take_run(store: Store, path: Path, source: str, run: str) -> str:
    query = (
        f"SELECT mine.run FROM runs mine JOIN {source}.runs other USING (fingerprint, seed, started) "
        "WHERE other.run = ?"
    )
    same = store.execute(query, [run]).fetchone()
    if same is None:
        names = {each.run for each in store.runs()}
        name, number = run, 2
        while name in names:
            name, number = f"{run}-{number}", number + 1
        _copy(store, source, run, name, ("runs", *OF_A_RUN))
        return "added" if name == run else f"added as {name}: another run has its name"
    (name,) = same
    here, there = _only_in(store, "main", name, source, run), _only_in(store, source, run, "main", name)
    if here and there:
        raise InputError(
            f"{path}: run {run} must go on in one store alone; got {there} blocks and processes that the other "
            f"store's {name} lacks, and {here} the other way round"
        )
    if here or not (there or _finished_later(store, source, run, name)):
        return "is there already"
    for table in OF_A_RUN:
        store.execute(f"DELETE FROM {table} WHERE run = ?", [name])
    _copy(store, source, run, name, OF_A_RUN)
    store.execute(
        f"UPDATE runs SET finished = other.finished, noise_floor = other.noise_floor FROM {source}.runs other "
        "WHERE runs.run = ? AND other.run = ?",
        [name, run],
    )
    return "took the place of an earlier state of itself"


def _copy(store: Store, source: str, run: str, name: str, tables: Sequence[str]) -> None:
    for table in tables:
        chosen = f"SELECT * REPLACE (? AS run) FROM {source}.{table} WHERE run = ? ORDER BY rowid"
        store.execute(f"INSERT INTO {table} BY NAME {chosen}", [name, run])


def _only_in(store: Store, this: str, run: str, other: str, other_run: str) -> int:
    """How many blocks and processes the one's run has that the other's run lacks."""
    count = 0
    for table in MEASURED_BY:
        columns = ", ".join(quoted(column) for column in TABLES[table] if column != "run")
        mine, theirs = (f"SELECT {columns} FROM {each}.{table} WHERE run = ?" for each in (this, other))
        found = store.execute(f"SELECT count(*) FROM ({mine} EXCEPT ALL {theirs})", [run, other_run])
        count += found.fetchone()[0]
    return count


def _finished_later(store: Store, source: str, run: str, name: str) -> bool:
    query = (
        "SELECT coalesce(other.finished > coalesce(mine.finished, '-infinity'), false) "
        f"FROM runs mine, {source}.runs other WHERE mine.run = ? AND other.run = ?"
    )
    return bool(store.execute(query, [name, run]).fetchone()[0])


def export(store: Store, file: Path, run: str | None = None) -> int:
    """Write the rows of one run, or of all, to a CSV or Parquet file, whole or not at all; how many they are.

    The columns are those of the table ``rows``, then ``framework_version`` and the run's own.

    Raises
    ------
    InputError
        If the file's name ends in neither, or if it cannot be written.
    """
    options = FORMATS.get(file.suffix.lower())
    if options is None:
        raise InputError(f"{file}: must end in {' or '.join(FORMATS)}; got {file.suffix or 'no ending'}")
    of_the_run = ", ".join(f"runs.{quoted(column)}" for column in EXPORTED_OF_THE_RUN)
    query = (
        "SELECT rows.*, environments.versions ->> rows.framework AS framework_version, "
        f"{of_the_run} FROM rows JOIN runs USING (run) LEFT JOIN environments USING (environment)"
        f"{'' if run is None else f' WHERE rows.run = {literal(run)}'} ORDER BY runs.started, runs.run, rows.rowid"
    )
    try:
        with tempfile.TemporaryDirectory(prefix="birnn-export-") as folder:
            part = Path(folder) / f"rows{file.suffix}"
            with refusing(file):
                written = _without_controls(store, query) if file.suffix.lower() == ".csv" else query
                store.execute(f"COPY ({written}) TO {literal(part)} ({options})")
            write_bytes(file, part.read_bytes())
    except OSError as error:
        raise InputError(f"{file}: must be a file that can be written; got: {error.strerror}") from None
    (count,) = store.execute(f"SELECT count(*) FROM ({query})").fetchone()
    return count


def _without_controls(store: Store, query: str) -> str:
    """The query with U+FFFD for every control character in its texts: CSV files are looked at in terminals."""
    shown = []
    for name, kind, *_ in store.execute(f"DESCRIBE {query}").fetchall():
        column = quoted(name)
        if kind in ("VARCHAR", "JSON"):
            column = f"{_plain(f'{column}::VARCHAR')} AS {column}"
        elif kind == "VARCHAR[]":
            column = f"[{_plain('text')} for text in {column}] AS {column}"
        shown.append(column)
    return f"SELECT {', '.join(shown)} FROM ({query})"


def _plain(column: str) -> str:
    return f"regexp_replace({column}, {literal(CONTROLS_IN_RE2)}, '\ufffd', 'g')"


def _part_of(target: Path) -> Path:
    """A name beside ``target`` that nothing has."""
    if not target.parent.is_dir():
        raise InputError(f"{target}: must be in a folder that exists; {target.parent} is none")
    return target.with_name(f".{target.name}.{os.getpid()}.part")
