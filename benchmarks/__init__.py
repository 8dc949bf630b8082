"""Benchmarks: cases, the measuring of them, the machine, the store and the report; and what maintainers measure."""
