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

from benchmarks.store.intake import KEPT, require_tables_alone, version_of
from benchmarks.store.migration_steps import to_2, to_3, to_4
from benchmarks.store.placing import folder_beside, is_new, put_in_place
from benchmarks.store.schema import SCHEMA_VERSION, literal
from common.errors import InputError

MIGRATIONS: dict[int, Callable[[Any], None]] = {1: to_2, 2: to_3, 3: to_4}
"""The function that brings an open store from each schema version to the next one. Version 1 is the first."""

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
        # Wrong SQL, or SQL where none may be, is our own mistake. A full disk fails the commit of a transaction.
        ours = isinstance(error, duckdb.ProgrammingError | duckdb.NotSupportedError | duckdb.IntegrityError)
        if ours or (isinstance(error, duckdb.TransactionException) and "Failed to commit" not in str(error)):
            raise
        raise InputError(f"{path}: {_complaint(path, str(error), duckdb.__version__)}") from None
    except OSError as error:
        raise InputError(f"{path}: must be a store that can be read and written; got: {error.strerror}") from None
    except RuntimeError as error:
        if str(error) == "Query interrupted":  # what duckdb 1.1 to 2.0 make of Ctrl-C
            raise KeyboardInterrupt from None
        raise


def _complaint(path: Path, text: str, version: str) -> str:
    """What is wrong with a store that DuckDB does not open, in one sentence."""
    first = text.splitlines()[0].rstrip(".") if text else "nothing"
    holder = re.search(r"held in (\S+) \(PID (\d+)\)", text)
    if holder:
        name = holder[1].rpartition("/")[2]
        return f"must not be in use by another process; got: {name}, process {holder[2]}, has it open"
    if "different configuration" in text or "already attached" in text:
        return "must not be open twice; this process has it open already"
    if "not a valid DuckDB" in text:
        return "must be a store, a DuckDB file; got another kind of file"
    if "version number" in text:
        return f"must be of a DuckDB not newer than the installed {version}; got: {first}; upgrade duckdb"
    return f"must be a store that can be read and written; got: {first}"


def connect(path: Path, write: bool) -> Any:
    """A DuckDB connection with a store's file as ``KEPT``, from which SQL reaches no other file.

    The file is not what the connection uses by itself: else a macro in it would stand for DuckDB's function of its name
    in the very questions that ask for macros. After ``intake.accept`` has found none, ``USE`` it.
    """
    connection = workbench()
    try:
        connection.execute(f"ATTACH {literal(path)} AS {KEPT}{'' if write else ' (READ_ONLY)'}")
        seal(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(path: Path) -> Any:
    """A connection as ``connect`` makes it, to the store at ``path``, which must be there."""
    if is_new(path):
        got = "got an empty file, in which nothing has been measured" if path.exists() else "there is no such file"
        raise InputError(f"{path}: must be a store; {got}")
    return connect(path, write=False)


def workbench() -> Any:
    """A DuckDB connection to which files are attached; ``seal`` it before anything in them is used."""
    return duckdb_module().connect(":memory:", config=dict(_SETTINGS))


def seal(connection: Any) -> None:
    """Let SQL reach no file but those that are attached, and let nothing change that."""
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def oldest_version() -> int:
    """The oldest schema version that can be migrated."""
    version = SCHEMA_VERSION
    while version - 1 in MIGRATIONS:
        version -= 1
    return version


@contextmanager
def readable(path: Path) -> Iterator[tuple[Path, int]]:
    """The file to read a store from and the version that was found: the store, or a temporary migrated copy of an
    older one. Raises ``InputError`` as ``Store.open`` does; whoever opens the file calls ``accept``.
    """
    with tempfile.TemporaryDirectory(prefix="birnn-store-") as folder:
        file = path
        with refusing(path):
            version = _version_at(path)
            if version < SCHEMA_VERSION:
                file = Path(folder) / "store.duckdb"
                _migrate_to(path, version, file)
        yield file, version


def _version_at(path: Path) -> int:
    """The schema version of a store."""
    connection = connect_to_read(path)
    try:
        return version_of(connection, path, KEPT, oldest_version())
    finally:
        connection.close()


def migrate_in_place(path: Path, version: int) -> Path:
    """Put a migrated copy in the place of ``path``; the original is kept under the name that is returned."""
    place = Path(os.path.realpath(path))
    connection = workbench()
    try:
        with folder_beside(place) as folder:
            part = folder / "migrated"
            connection.execute(f"ATTACH {literal(place)} AS original")  # locked until the copy is in its place
            _copy_migrated(connection, path, part, version)
            connection.execute("CHECKPOINT original")  # leaves no log of changes that would be taken for the copy's
            kept = _free_name(place, version)
            try:
                os.link(place, kept)  # so that there is a store under this name at every moment
            except OSError:  # a file system without links
                shutil.copy2(place, kept)
            put_in_place(part, place)
            return kept
    finally:
        connection.close()


def _migrate_to(path: Path, version: int, target: Path) -> None:
    """Write a migrated copy of ``path``, which stays as it is, to ``target``."""
    connection = workbench()
    try:
        connection.execute(f"ATTACH {literal(path)} AS original (READ_ONLY)")
        _copy_migrated(connection, path, target, version)
    finally:
        connection.close()


def _copy_migrated(connection: Any, path: Path, target: Path, version: int) -> None:
    """Copy a store into a new file of the latest version."""
    connection.execute(f"ATTACH {literal(target)} AS migrated")
    seal(connection)
    require_tables_alone(connection, path, "original")
    version_of(connection, path, "original", oldest_version())
    connection.execute("COPY FROM DATABASE original TO migrated")
    connection.execute("USE migrated")
    duckdb = duckdb_module()
    try:
        for step in range(version, SCHEMA_VERSION):
            MIGRATIONS[step](connection)
    except (duckdb.ProgrammingError, duckdb.DataError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{path}: must be a store of schema version {version}; got: {first}") from None
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
