"""What a file must be before it is read as a store: anyone may have written it, and DuckDB runs what a file brings.

A view in the place of a table may read any file of the user, and a macro takes the place of DuckDB's own function of
its name. So the file is attached to a connection that does not use it, the questions here name the catalog ``system``,
which no file can add to, and both are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.store.schema import SCHEMA_VERSION, TABLES, quoted
from common.errors import InputError, shown

KEPT = "kept"
"""The catalog that a store's file is in."""
_MORE_THAN_TABLES = {
    "view": "SELECT database_name, view_name FROM system.main.duckdb_views() WHERE NOT internal",
    "macro": "SELECT database_name, function_name FROM system.main.duckdb_functions() "
    "WHERE NOT internal AND function_type IN ('macro', 'table_macro')",
    "type": "SELECT database_name, type_name FROM system.main.duckdb_types() WHERE NOT internal",
}
_COLUMNS = (
    "SELECT table_name, column_name, data_type, is_nullable FROM system.main.duckdb_columns() "
    "WHERE NOT internal AND schema_name = 'main' AND database_name = ?"
)


def tables_of(connection: Any, catalog: str) -> set[str]:
    """The names of an open file's tables."""
    query = "SELECT table_name FROM system.main.duckdb_tables() WHERE schema_name = 'main' AND database_name = ?"
    return {name for (name,) in connection.execute(query, [catalog]).fetchall()}


Brought = dict[str, list[tuple[str, str]]]
"""Catalog and name of every view, macro and type in the files that are attached, by the kind."""


def brought_by(connection: Any) -> Brought:
    """What the files that are attached bring besides tables; DuckDB lists all of its own functions for it, in 20 ms."""
    return {kind: connection.execute(query).fetchall() for kind, query in _MORE_THAN_TABLES.items()}


def require_tables_alone(connection: Any, path: Path, catalog: str, brought: Brought | None = None) -> None:
    """See that a file brings nothing that runs: an ``InputError`` names the first view, macro or type in it.

    ``brought`` is what ``brought_by`` gave for all the files that are attached, where there are several.
    """
    for kind, lines in (brought_by(connection) if brought is None else brought).items():
        names = sorted(name for database, name in lines if database == catalog)
        if names:
            raise InputError(
                f"{path}: must hold tables alone, for nothing in it is to run; got the {kind} {shown(names[0])}"
            )


def version_of(connection: Any, path: Path, catalog: str, oldest: int) -> int:
    """The schema version of an open file; an ``InputError`` where it is no store, newer than this suite, or older than
    ``oldest``.
    """
    from duckdb import BinderException  # whoever has a connection has it; others need it not

    if "store" not in tables_of(connection, catalog):
        raise InputError(f"{path}: must be a store; got a DuckDB file without the table 'store'")
    try:  # asking for all columns takes 6 ms, of which those of DuckDB's own views take most
        store = f"{quoted(catalog)}.main.store"
        row = connection.execute(f"SELECT {store}.schema_version FROM {store}").fetchone()
    except BinderException:
        raise InputError(f"{path}: must be a store; got a file without the column store.schema_version") from None
    version = row[0] if row else None
    if not isinstance(version, int):
        raise InputError(f"{path}: must be a store with a schema version; got {shown(version)}")
    if version > SCHEMA_VERSION:
        raise InputError(f"{path}: must have schema version ≤ {SCHEMA_VERSION}; got {version}; upgrade birnn")
    if version < oldest:
        raise InputError(f"{path}: must have a schema version from {oldest} to {SCHEMA_VERSION}; got {version}")
    return version


def require_tables(connection: Any, path: Path, catalog: str) -> None:
    """See that every table and column is there, of its type, and none NULL that must not be; an ``InputError`` names
    the first that is not.
    """
    there = _columns_of(connection, catalog)
    for table, columns in TABLES.items():
        unchecked = []
        for column, kind in columns.items():
            wanted, *rule = kind.split(" ", 1)
            if (table, column) not in there:
                raise InputError(f"{path}: must be a store; got a file without the column {table}.{column}")
            type_found, nullable = there[table, column]
            if type_found != wanted:
                raise InputError(f"{path}: {table}.{column} must be of type {wanted}; got {shown(type_found)}")
            if rule and nullable:
                unchecked.append(column)
        for column in unchecked:
            query = f"SELECT 1 FROM {quoted(catalog)}.main.{quoted(table)} WHERE {quoted(column)} IS NULL LIMIT 1"
            if connection.execute(query).fetchone():
                raise InputError(f"{path}: {table}.{column} must have a value in every line; got NULL")


def _columns_of(connection: Any, catalog: str) -> dict[tuple[str, str], tuple[str, bool]]:
    """Type and whether NULL may be in it of every column of a store's tables, by table and column; DuckDB's list of all
    columns, those of its own views among them, takes 6 ms more. A file that has views is refused before.
    """
    tables = sorted(tables_of(connection, catalog) & TABLES.keys())
    infos = (
        f"SELECT '{table}', name, type, NOT \"notnull\" FROM system.main.pragma_table_info('{catalog}.main.{table}')"
        for table in tables
    )
    lines = connection.execute(" UNION ALL ".join(infos)).fetchall() if tables else []
    return {(table, column): (kind, nullable) for table, column, kind, nullable in lines}


def require_nothing_else(connection: Any, path: Path, catalog: str) -> None:
    """See that a file has no table or column of its owner's, who would lose it when another takes the file's place."""
    ours = {(table, column) for table, columns in TABLES.items() for column in columns}
    others = {line[:2] for line in connection.execute(_COLUMNS, [catalog]).fetchall()} - ours
    if others:
        name = ".".join(min(others))
        raise InputError(f"{path}: must hold what a store holds alone, for the rest would be lost; got {shown(name)}")


def accept(connection: Any, path: Path, catalog: str, brought: Brought | None = None) -> None:
    """See that an open file is a store of this schema version that may be read; an ``InputError`` says what stands
    against it. ``brought`` is as ``require_tables_alone`` has it.
    """
    require_tables_alone(connection, path, catalog, brought)
    version_of(connection, path, catalog, SCHEMA_VERSION)
    require_tables(connection, path, catalog)
