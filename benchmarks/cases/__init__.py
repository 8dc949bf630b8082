"""Benchmark cases: what is to be timed, and the files that list it."""
