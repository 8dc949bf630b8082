"""Several stores into one, and a store's rows out to CSV or Parquet."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.store.intake import Brought, accept, brought_by, require_nothing_else
from benchmarks.store.migrations import duckdb_module, readable, refusing, seal, workbench
from benchmarks.store.placing import UNFINISHED, folder_beside, identity, is_new, log_of, put_in_place
from benchmarks.store.schema import TABLES, literal, quoted
from benchmarks.store.store import Store, create_tables
from common.errors import InputError
from common.output import write_bytes
from common.terminal import CONTROLS

FORMATS = {".csv": "FORMAT csv, HEADER", ".parquet": "FORMAT parquet"}
"""How DuckDB calls the format of each kind of file."""
CONTROLS_IN_RE2 = "[" + "".join(f"\\x{{{low:x}}}-\\x{{{high:x}}}" for low, high in CONTROLS if low < 0xD800) + "]"
"""All of them but surrogates, which no text of DuckDB holds."""
EXPORTED_OF_THE_RUN = ("label", "started", "finished", "suite_version", "commit", "machine")
"""What of a run stands in every exported row."""
OF_A_RUN = ("processes", "blocks", "looks", "ceilings", "rows")
"""The tables that hold what belongs to a run."""
MEASURED_BY = ("processes", "blocks")
"""The tables that a run which goes on only adds to."""


def merge(target: Path, sources: Sequence[Path]) -> list[str]:
    """Put the runs of ``sources`` into the store ``target``, which is made where there is none; what was done.

    The target is locked until the merged store has taken its place, whole. A run is recognised by its fingerprint, seed
    and start, whatever its name. The same run twice is kept once: the copy that went on longer. Another run of the same
    name gets a number behind its name.

    Raises
    ------
    InputError
        If a store cannot be read or written, is the target itself, or if two copies of a run went on separately.
    """
    for source in sources:
        if target.exists() and source.exists() and target.samefile(source):
            raise InputError(f"{source}: must not be merged into itself; OUT is the same file")
    if not target.parent.is_dir():
        raise InputError(f"{target}: must be in a folder that exists; {target.parent} is none")
    with contextlib.ExitStack() as stack:
        read = {source: stack.enter_context(readable(source)) for source in dict.fromkeys(sources)}
        place = Path(os.path.realpath(target))  # of links, what they lead to
        connection, note = stack.enter_context(_locked(target, place))
        done = [note] if note else []
        for leftover in place.parent.glob(f".{glob.escape(place.name[:100])}.*{UNFINISHED}"):
            shutil.rmtree(leftover, ignore_errors=True)  # of a merge that was killed: the target is ours alone
        with refusing(target):
            part = stack.enter_context(folder_beside(place)) / "merged"
            connection.execute(f"ATTACH {literal(part)} AS merged")
        names: dict[tuple[int, int] | None, str] = {}
        for source, (file, version) in read.items():
            with refusing(source):
                if identity(file) not in names:  # a file is attached once, under however many names it is given
                    names[identity(file)] = f"source{len(names)}"
                    connection.execute(f"ATTACH {literal(file)} AS {names[identity(file)]} (READ_ONLY)")
            done += [] if file == source else [f"{source}: read through a migrated copy, {_from(version)}"]
        seal(connection)
        with refusing(target):
            connection.execute("USE merged")
            create_tables(connection)
            brought = brought_by(connection)
        require_nothing_else(connection, target, "previous")
        _take(Store(target, connection), target, "previous", brought)
        for source in sources:  # each time a store of the source's name, so that complaints are about that file
            done += _take(Store(source, connection), source, names[identity(read[source][0])], brought)
        with refusing(target):
            connection.execute("CHECKPOINT merged")  # leaves no log of changes beside it
            connection.execute("USE memory")
            connection.execute("DETACH merged")
            put_in_place(part, place)
    return done


def _from(version: int) -> str:
    """Which version a store has, in words."""
    return f"from schema version {version}"


@contextlib.contextmanager
def _locked(target: Path, place: Path) -> Iterator[tuple[Any, str]]:
    """A connection that has the target attached as ``previous``, so that no other process can open it, and what a user
    should know of its opening; a target that was made for this is removed again where merging fails.
    """
    made = is_new(target)
    try:
        with Store.open(target, write=True) as store:  # made, migrated where need be
            note = store.note
        connection = workbench()
        try:
            before = identity(place)
            with refusing(target):
                connection.execute(f"ATTACH {literal(place)} AS previous")
                if identity(place) != before:
                    raise InputError(f"{target}: must not be in use by another process; another merge has replaced it")
                if log_of(place).exists():  # of changes: it must not lie beside the merged store
                    connection.execute("CHECKPOINT previous")
            yield connection, note
        finally:
            connection.close()
    except BaseException:
        if made:
            _remove_if_empty(place)
        raise


def _remove_if_empty(place: Path) -> None:
    """Remove a store without runs; one that another process has, or that cannot be read, stays."""
    if is_new(place):  # it was not made after all
        return
    connection = workbench()  # a new one, for a full disk makes the old one useless
    with contextlib.suppress(duckdb_module().Error, OSError), contextlib.closing(connection):
        connection.execute(f"ATTACH {literal(place)} AS made")
        if not connection.execute("SELECT 1 FROM made.main.runs LIMIT 1").fetchone():
            place.unlink()
            log_of(place).unlink(missing_ok=True)


def _take(store: Store, path: Path, source: str, brought: Brought) -> list[str]:
    """Put the runs of an attached store into this one; what was done with each."""
    done = []
    accept(store, path, source, brought)
    try:
        done += _take_runs(store, path, source)
    except duckdb_module().ConstraintException as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{path}: must hold each run and environment once; got: {first}") from None
    return done


def _take_runs(store: Store, path: Path, source: str) -> list[str]:
    """Take over the runs of another store; a sentence on each."""
    done = []
    with store.transaction():
        columns = ", ".join(map(quoted, TABLES["environments"]))
        store.execute(
            f"INSERT INTO environments BY NAME SELECT {columns} FROM {source}.environments "
            "WHERE environment NOT IN (SELECT environment FROM environments)"
        )
        for (run,) in store.execute(f"SELECT run FROM {source}.runs ORDER BY started, rowid").fetchall():
            done.append(f"{path}: {run} {_take_run(store, path, source, run)}")
    return done


def _take_run(store: Store, path: Path, source: str, run: str) -> str:
    """Take over one run, as far as it is not there; a sentence on it."""
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
    here, there = _only_in(store, "merged", name, source, run), _only_in(store, source, run, "merged", name)
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
        "UPDATE runs SET finished = other.finished, noise_floor = other.noise_floor, "
        f"noise_floor_low = other.noise_floor_low, noise_floor_high = other.noise_floor_high FROM {source}.runs other "
        "WHERE runs.run = ? AND other.run = ?",
        [name, run],
    )
    return "took the place of an earlier state of itself"


def _copy(store: Store, source: str, run: str, name: str, tables: Sequence[str]) -> None:
    """Copy a run's records out of another store."""
    for table in tables:
        columns = ", ".join("? AS run" if column == "run" else quoted(column) for column in TABLES[table])
        chosen = f"SELECT {columns} FROM {source}.{table} WHERE run = ? ORDER BY rowid"
        store.execute(f"INSERT INTO {table} BY NAME {chosen}", [name, run])


def _only_in(store: Store, this: str, run: str, other: str, other_run: str) -> int:
    """How many blocks and processes the one's run has that the other's run lacks."""
    count = 0
    for table in MEASURED_BY:
        columns = ", ".join(quoted(column) for column in TABLES[table] if column != "run")
        mine, theirs = (f"SELECT {columns} FROM {each}.{table} WHERE run = ?" for each in (this, other))
        rows = store.execute(f"SELECT count(*) FROM ({mine} EXCEPT ALL {theirs})", [run, other_run])
        count += rows.fetchone()[0]
    return count


def _finished_later(store: Store, source: str, run: str, name: str) -> bool:
    """Whether the other store's run has gone further than this one's."""
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
    columns = [f"rows.{quoted(column)}" for column in TABLES["rows"]]
    columns.append("environments.versions ->> rows.framework AS framework_version")
    columns += [f"runs.{quoted(column)}" for column in EXPORTED_OF_THE_RUN]
    query = (
        f"SELECT {', '.join(columns)} FROM rows JOIN runs USING (run) LEFT JOIN environments USING (environment)"
        f"{'' if run is None else f' WHERE rows.run = {literal(run)}'} ORDER BY runs.started, runs.run, rows.rowid"
    )
    rows = store.execute(query).fetchall()
    with tempfile.TemporaryDirectory(prefix="birnn-export-") as folder:
        part = Path(folder) / f"rows{file.suffix.lower()}"
        with refusing(file):
            _write_table(part, rows, options)
        write_bytes(file, part.read_bytes())
    return len(rows)


def _write_table(file: Path, lines: Sequence[Sequence[Any]], options: str) -> None:
    """Write exported lines; from a connection of our own, for that of a store reaches no file."""
    kinds = {column: kind.partition(" ")[0] for column, kind in TABLES["rows"].items()}
    kinds |= {"framework_version": "VARCHAR"}
    kinds |= {column: TABLES["runs"][column].partition(" ")[0] for column in EXPORTED_OF_THE_RUN}
    connection = workbench()
    try:
        described = ", ".join(f"{quoted(column)} {kind}" for column, kind in kinds.items())
        connection.execute(f"CREATE TABLE exported ({described})")
        values = {f"c{place}": list(each) for place, each in enumerate(zip(*lines, strict=True))}
        if values:
            given = ", ".join(f"unnest(${name}::{kind}[])" for name, kind in zip(values, kinds.values(), strict=True))
            connection.execute(f"INSERT INTO exported SELECT {given}", values)
        query = "SELECT * FROM exported"
        written = _without_controls(connection, query) if file.suffix == ".csv" else query
        connection.execute(f"COPY ({written}) TO {literal(file)} ({options})")
    finally:
        connection.close()


def _without_controls(connection: Any, query: str) -> str:
    """The query with U+FFFD for every control character in its texts: CSV files are looked at in terminals."""
    shown = []
    for name, kind, *_ in connection.execute(f"DESCRIBE {query}").fetchall():
        column = quoted(name)
        if kind in ("VARCHAR", "JSON"):
            column = f"{_plain(f'{column}::VARCHAR')} AS {column}"
        elif kind == "VARCHAR[]":
            column = f"[{_plain('text')} for text in {column}] AS {column}"
        shown.append(column)
    return f"SELECT {', '.join(shown)} FROM ({query})"


def _plain(column: str) -> str:
    """The expression for a column without control characters."""
    return f"regexp_replace({column}, {literal(CONTROLS_IN_RE2)}, '\ufffd', 'g')"
