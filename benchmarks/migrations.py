"""Opening a store's file, whatever it is, and bringing one of an older schema version up to date on a copy."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.schema import SCHEMA_VERSION, TABLES, literal
from common.errors import InputError

MIGRATIONS: dict[int, Callable[[Any], None]] = {}
"""From a schema version to the function that brings an open store to the next one. Version 1 is the first."""

_SETTINGS = {
    # The store works while others are measured: no threads of its own, no look for extensions in the network.
    "threads": 1,
    "autoinstall_known_extensions": False,
    # Files that every DuckDB since 1.0 reads; 2.0 would write its own format, which 1.x refuses.
    "storage_compatibility_version": "v1.0.0",
}


def duckdb_module() -> Any:
    """DuckDB, or an ``InputError`` that says how to get it."""
    try:
        import duckdb
    except ImportError:
        raise InputError(
            "birnn bench, compare, report and results need duckdb; install it with: pip install 'birnn[bench]'"
        ) from None
    return duckdb


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn what DuckDB says of a file that it cannot open, read or write into an ``InputError``."""
    duckdb = duckdb_module()
    try:
        yield
    except duckdb.Error as error:
        ours = isinstance(error, duckdb.TransactionException) or not isinstance(
            error, duckdb.OperationalError | duckdb.InternalError
        )
        if ours and type(error) is not duckdb.Error:  # the bare class is what a wrong checksum raises
            raise
        raise InputError(f"{path}: {_complaint(path, str(error), duckdb.__version__)}") from None
    except RuntimeError as error:
        if str(error) == "Query interrupted":  # what duckdb 1.1 to 2.0 make of Ctrl-C
            raise KeyboardInterrupt from None
        raise


def _complaint(path: Path, text: str, version: str) -> str:
    first = text.splitlines()[0].rstrip(".") if text else "nothing"
    holder = re.search(r"held in (\S+) \(PID (\d+)\)", text)
    if path.is_dir():
        return "must be a store; got a folder"
    if holder:
        name = holder[1].rpartition("/")[2]
        return f"must not be in use by another process; got: {name}, process {holder[2]}, has it open"
    if "different configuration" in text:
        return "must not be open twice; this process has it open already"
    if "not a valid DuckDB" in text:
        return "must be a store, a DuckDB file; got another kind of file"
    if "version number" in text:
        return f"must be of a DuckDB not newer than the installed {version}; got: {first}; upgrade duckdb"
    return f"must be a store that can be read and written; got: {first}"


def connect(path: Path | str, write: bool) -> Any:
    """A DuckDB connection with this suite's settings."""
    return duckdb_module().connect(str(path), read_only=not write, config=dict(_SETTINGS))


def tables_of(connection: Any) -> set[str]:
    """The names of an open file's tables."""
    return {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}


def version_of(connection: Any, path: Path) -> int:
    """The schema version of an open file; an ``InputError`` where it is no store, or newer than this suite."""
    if "store" not in tables_of(connection):
        raise InputError(f"{path}: must be a store; got a DuckDB file without the table 'store'")
    found = connection.execute("SELECT * FROM store").fetchone()
    version = found[0] if found else None
    if not isinstance(version, int):
        raise InputError(f"{path}: must be a store with a schema version; got {version!r}")
    if version > SCHEMA_VERSION:
        raise InputError(f"{path}: must have schema version ≤ {SCHEMA_VERSION}; got {version}; upgrade birnn")
    if any(step not in MIGRATIONS for step in range(version, SCHEMA_VERSION)):
        oldest = min([*MIGRATIONS, SCHEMA_VERSION])
        raise InputError(f"{path}: must have a schema version from {oldest} to {SCHEMA_VERSION}; got {version}")
    return version


def require_tables(connection: Any, path: Path) -> None:
    """See that every table and column is there; an ``InputError`` names the first that is not."""
    query = "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal"
    there = set(connection.execute(query).fetchall())
    for table, columns in TABLES.items():
        for column in columns:
            if (table, column) not in there:
                raise InputError(f"{path}: must be a store; got a file without the column {table}.{column}")


@contextmanager
def readable(path: Path) -> Iterator[tuple[Path, int]]:
    """The file to read a store from and the version that was found: the store, or a temporary migrated copy of an
    older one. Raises ``InputError`` as ``Store.open`` does.
    """
    if not path.exists():
        raise InputError(f"{path}: must be a store; there is no such file")
    with tempfile.TemporaryDirectory(prefix="birnn-store-") as folder:
        file = path
        with refusing(path):
            version = _checked_version(path, path)
            if version < SCHEMA_VERSION:
                file = Path(folder) / "store.duckdb"
                _migrate_to(path, version, file)
                _checked_version(file, path)
        yield file, version


def _checked_version(file: Path, path: Path) -> int:
    connection = connect(file, write=False)
    try:
        version = version_of(connection, path)
        if version == SCHEMA_VERSION:
            require_tables(connection, path)
        return version
    finally:
        connection.close()


def migrate_in_place(path: Path, version: int) -> Path:
    """Put a migrated copy in the place of ``path``; the original is kept under the name that is returned."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    connection = connect(":memory:", write=True)
    try:
        connection.execute(f"ATTACH {literal(path)} AS original")  # locked until the copy is in its place
        _copy_migrated(connection, part, version)
        connection.execute("CHECKPOINT original")  # leaves no log of changes that would be taken for the copy's
        kept = _free_name(path, version)
        try:
            os.link(path, kept)  # so that there is a store under this name at every moment
        except OSError:  # a file system without links
            shutil.copy2(path, kept)
        part.replace(path)
        return kept
    finally:
        connection.close()
        part.unlink(missing_ok=True)


def _migrate_to(path: Path, version: int, target: Path) -> None:
    """Write a migrated copy of ``path``, which stays as it is, to ``target``."""
    connection = connect(":memory:", write=True)
    try:
        connection.execute(f"ATTACH {literal(path)} AS original (READ_ONLY)")
        _copy_migrated(connection, target, version)
    finally:
        connection.close()


def _copy_migrated(connection: Any, target: Path, version: int) -> None:
    connection.execute(f"ATTACH {literal(target)} AS migrated")
    connection.execute("COPY FROM DATABASE original TO migrated")
    connection.execute("USE migrated")
    for step in range(version, SCHEMA_VERSION):
        MIGRATIONS[step](connection)
    connection.execute(f"UPDATE store SET schema_version = {SCHEMA_VERSION}")
    connection.execute("USE memory")
    connection.execute("DETACH migrated")


def _free_name(path: Path, version: int) -> Path:
    """``results.v0.duckdb`` for ``results.duckdb``, or with a number where that is taken."""
    number = 1
    while True:
        suffix = f".v{version}" if number == 1 else f".v{version}-{number}"
        name = path.with_name(f"{path.stem}{suffix}{path.suffix}")
        if not name.exists():
            return name
        number += 1
