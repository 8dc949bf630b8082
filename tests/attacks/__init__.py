"""Attacks on the suite, as tests: hostile plug-ins, files, options and surroundings, and what must come of them."""
