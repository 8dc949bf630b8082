"""The machine: what it is, what it can do at most, and who else is at work on it."""
