"""The command line, kept thin: it reads arguments, calls common and backends, and prints."""
