"""A store: everything that was measured, in one DuckDB file; docs/results.md describes its tables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from benchmarks.analysis.noise import Floor
from benchmarks.store.intake import KEPT, accept, require_tables, require_tables_alone, tables_of, version_of
from benchmarks.store.migrations import (
    connect,
    connect_to_read,
    duckdb_module,
    migrate_in_place,
    oldest_version,
    readable,
    refusing,
)
from benchmarks.store.placing import identity, is_new, make_new
from benchmarks.store.records import Block, Ceiling, Environment, Key, Look, Process, Row, Run
from benchmarks.store.schema import (
    IDENTITY,
    SCHEMA_VERSION,
    TABLE_OF,
    TABLES,
    AnyRecord,
    Record,
    create_statements,
    key_columns,
    line_of,
    quoted,
    record_of,
)
from common.errors import InputError, shown

LAST = "last"
"""What names the latest run."""
TRIES = 10
"""How often a store is opened that others put another file in the place of."""


class Store:
    """An open store; close it, or use it as a context manager. What a method has written is there after ``kill -9``.

    Attributes
    ----------
    path
        The file as it was named.
    note
        What a user should know of the opening, for example that an older version was migrated, or "".
    """

    def __init__(self, path: Path, connection: Any, note: str = "", held: contextlib.ExitStack | None = None) -> None:
        self.path = path
        self.note = note
        self._connection = connection
        self._held = held or contextlib.ExitStack()
        self._in_transaction = False

    @classmethod
    def open(cls, path: Path, write: bool = False) -> Self:
        """Open a store; with ``write`` make it where there is none.

        A store of an older schema version is migrated on a copy. To write, the copy takes the original's place, which
        is kept beside it; to read, the copy is a temporary one and the original stays untouched.

        Raises
        ------
        InputError
            If it cannot be read or written, is no store, is newer than this suite, or another process has it open.
        """
        path = Path(path)
        duckdb_module()
        with refusing(path):
            return cls._opened_to_write(path) if write else cls._opened_to_read(path)

    @classmethod
    def _opened_to_read(cls, path: Path) -> Self:
        """The store, for reading; an older version is read by way of a copy."""
        connection, note = connect_to_read(path), ""
        with contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            version = version_of(connection, path, KEPT, oldest_version())
            if version < SCHEMA_VERSION:
                stack.close()
                file, version = stack.enter_context(readable(path))
                connection = connect(file, write=False)
                stack.callback(connection.close)
                note = "" if file == path else f"{path}: read through a migrated copy; {_steps(version)}"
            accept(connection, path, KEPT)
            connection.execute(f"USE {KEPT}")
            return cls(path, connection, note, stack.pop_all())

    @classmethod
    def _opened_to_write(cls, path: Path) -> Self:
        """The store, for writing; it is made where it is not there."""
        if not path.parent.is_dir():
            raise InputError(f"{path}: must be in a folder that exists; {path.parent} is none")
        connection, note = _connected(path), ""
        try:
            require_tables_alone(connection, path, KEPT)
            connection.execute(f"USE {KEPT}")
            if not tables_of(connection, KEPT):  # killed before it had any, by an earlier birnn
                create_tables(connection)
            version = version_of(connection, path, KEPT, oldest_version())
            if version < SCHEMA_VERSION:
                connection.close()
                kept = migrate_in_place(path, version)
                connection = _connected(path)
                require_tables_alone(connection, path, KEPT)
                connection.execute(f"USE {KEPT}")
                note = f"{path}: migrated, {_steps(version)}; the original is kept as {kept}"
            require_tables(connection, path, KEPT)
        except BaseException:
            connection.close()
            raise
        return cls(path, connection, note)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, for others to open it."""
        with refusing(self.path):
            self._connection.close()
        self._held.close()

    def execute(self, sql: str, parameters: Mapping[str, Any] | list[Any] | None = None) -> Any:
        """Run SQL; the result is DuckDB's, to fetch from."""
        with refusing(self.path):
            return self._connection.execute(sql, parameters)

    def add_run(self, run: Run) -> None:
        """Add a run whose name no other has; ``InputError`` where one has it."""
        if self._select(Run, "run = $run", {"run": run.run}):
            raise InputError(f"{self.path}: a run's name must be its own; got {shown(run.run)}, which is there")
        self._insert(run)

    def finish_run(self, run: str, finished: datetime | None, floor: Floor | None) -> None:
        """Set when a run was finished, None where it goes on, and its noise floor."""
        time = None if finished is None else finished.astimezone(UTC).replace(tzinfo=None)
        part, low, high = (None, None, None) if floor is None else (floor.part, floor.low, floor.high)
        self.execute(
            "UPDATE runs SET finished = $finished, noise_floor = $part, noise_floor_low = $low, "
            "noise_floor_high = $high WHERE run = $run",
            {"run": run, "finished": time, "part": part, "low": low, "high": high},
        )

    def runs(self) -> list[Run]:
        """All runs, the oldest first."""
        return self._select(Run)

    def find_run(self, text: str) -> Run:
        """The run with this name, the latest with this label, ``last``, or the one whose name begins so.

        Raises
        ------
        InputError
            If there is none, or more than one name begins so; it says which runs there are.
        """
        runs = self.runs()
        for fits in (lambda run: run.run == text, lambda run: run.label == text != "", lambda run: text == LAST):
            matching = [run for run in runs if fits(run)]
            if matching:
                return matching[-1]
        matching = [run for run in runs if text and run.run.startswith(text)]
        if len(matching) == 1:
            return matching[0]
        listed = matching or runs
        names = ", ".join(f"{run.run} ({run.label})" if run.label else run.run for run in listed[-10:])
        more = f" and {len(listed) - 10} older" if len(listed) > 10 else ""
        rule = "begin the name of one run alone" if matching else "be a run's name, label or beginning, or last"
        raise InputError(f"{self.path}: {shown(text)} must {rule}; there are {names or 'no runs'}{more}")

    def unfinished_run(self, fingerprint: str) -> Run | None:
        """The latest run with this fingerprint that is not finished."""
        matching = self._select(Run, "fingerprint = $fingerprint AND finished IS NULL", {"fingerprint": fingerprint})
        return matching[-1] if matching else None

    def latest_run(self, fingerprint: str) -> Run | None:
        """The latest run with this fingerprint."""
        matching = self._select(Run, "fingerprint = $fingerprint", {"fingerprint": fingerprint})
        return matching[-1] if matching else None

    def add_environment(self, environment: Environment) -> None:
        """Add an environment where it is not there yet: its name says what is in it."""
        if not self._select(Environment, "environment = $name", {"name": environment.environment}):
            self._insert(environment)

    def environments(self, run: str | None = None) -> list[Environment]:
        """The environments that a run's processes or rows name; all without a run."""
        if run is None:
            return self._select(Environment)
        named = " OR ".join(
            f"environment IN (SELECT environment FROM {table} WHERE run = $run)" for table in ("processes", "rows")
        )
        return self._select(Environment, named, {"run": run})

    def add_process(self, process: Process) -> None:
        """Add a process, in the place of the same one."""
        self._replace(process)

    def processes(self, run: str) -> list[Process]:
        """A run's processes, in the order in which they were added."""
        return self._select(Process, "run = $run", {"run": run})

    def add_block(self, block: Block) -> None:
        """Add a block; once this has returned, the block is there whatever happens to this process."""
        self._insert(block)

    def blocks(self, run: str, key: Key | None = None, warmup: bool = False) -> list[Block]:
        """A run's blocks by time, of one combination or all; those of the steady state, or those of the warm-up."""
        wanted: dict[str, Any] = {"run": run, "warmup": warmup} | (key_columns(key) if key else {})
        return self._select(Block, _equal(wanted), wanted)

    def add_look(self, look: Look) -> None:
        """Add a look at the machine."""
        self._insert(look)

    def looks(self, run: str) -> list[Look]:
        """A run's looks at the machine, by time."""
        return self._select(Look, "run = $run", {"run": run})

    def put_row(self, row: Row) -> None:
        """Add a row, in the place of the one that the run has for this combination."""
        self._replace(row)

    def rows(self, run: str) -> list[Row]:
        """A run's rows, one a combination."""
        return self._select(Row, "run = $run", {"run": run})

    def add_ceiling(self, ceiling: Ceiling) -> None:
        """Add a ceiling, in the place of the same one of this run."""
        self._replace(ceiling)

    def ceilings(self, run: str) -> list[Ceiling]:
        """A run's ceilings."""
        return self._select(Ceiling, "run = $run", {"run": run})

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """What is done inside is done together or not at all; inside another one it is part of that one."""
        if self._in_transaction:
            yield
            return
        self.execute("BEGIN")
        self._in_transaction = True
        try:
            yield
        except BaseException:
            with contextlib.suppress(duckdb_module().Error):  # a full disk has ended the transaction already
                self._connection.execute("ROLLBACK")
            raise
        else:
            self.execute("COMMIT")
        finally:
            self._in_transaction = False

    def _select(self, kind: type[Record], condition: str = "true", parameters: Any = None) -> list[Record]:
        """The records of a kind that meet a condition."""
        table = TABLE_OF[kind]
        columns = list(TABLES[table])
        order = "started, rowid" if "started" in columns else "rowid"
        chosen = ", ".join(map(quoted, columns))
        rows = self.execute(f"SELECT {chosen} FROM {table} WHERE {condition} ORDER BY {order}", parameters)
        try:
            return [record_of(kind, columns, values) for values in rows.fetchall()]
        except ValueError as error:
            raise InputError(f"{self.path}: {error}") from None

    def _insert(self, record: AnyRecord) -> None:
        """Put a record into its table."""
        line = line_of(record)
        columns = ", ".join(map(quoted, line))
        places = ", ".join("?" * len(line))
        self.execute(f"INSERT INTO {TABLE_OF[type(record)]} ({columns}) VALUES ({places})", list(line.values()))

    def _replace(self, record: Process | Ceiling | Row) -> None:
        """Put a record into its table in the place of the one with its identity."""
        table = TABLE_OF[type(record)]
        line = line_of(record)
        same = {column: line[column] for column in IDENTITY[table]}
        with self.transaction():
            self.execute(f"DELETE FROM {table} WHERE {_equal(same)}", same)
            self._insert(record)


def _equal(wanted: Mapping[str, Any]) -> str:
    """A condition that each of these columns has the parameter of its name."""
    return " AND ".join(f"{quoted(column)} = ${column}" for column in wanted)


def _steps(version: int) -> str:
    """How far a migration goes, in words."""
    return f"from schema version {version} to {SCHEMA_VERSION}"


def _connected(path: Path) -> Any:
    """A connection to write through to the store at ``path``, which is made where there is none yet.

    Whoever puts another file in a store's place has the store locked meanwhile, but may be done between our opening
    the file and our locking it: then ours is no longer the one at ``path``.
    """
    for _ in range(TRIES):
        if is_new(path):
            make_new(path, _make)
        before = identity(path)
        connection = connect(path, write=True)
        if before == identity(path):
            return connection
        connection.close()
    raise InputError(f"{path}: must not be in use by another process; others go on replacing it")


def _make(path: Path) -> None:
    """Write an empty store."""
    connection = connect(path, write=True)
    try:
        connection.execute(f"USE {KEPT}")
        create_tables(connection)
        connection.execute("CHECKPOINT")  # closing would leave it undone on a full disk, and say nothing
    finally:
        connection.close()


def create_tables(connection: Any) -> None:
    """Make the tables of an empty store in the connection's own catalog, or in the one that it uses."""
    now = datetime.now(UTC).replace(tzinfo=None)
    connection.execute("BEGIN")
    for statement in create_statements():
        connection.execute(statement)
    connection.execute(f"INSERT INTO store VALUES ({SCHEMA_VERSION}, $now)", {"now": now})
    connection.execute("COMMIT")
