"""Measuring: which combinations a run holds, in which order they are timed, and when it is over."""
