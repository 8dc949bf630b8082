"""The store: everything that was measured, in one DuckDB file."""
