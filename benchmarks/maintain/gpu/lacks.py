"""Say in one sentence what this interpreter lacks to measure, and exit with 2; nothing when it lacks nothing.

Imports nothing but the standard library, since anything else may be what is lacking.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec

NEEDED = {
    "numpy": "numpy",
    "ml-dtypes": "ml_dtypes",
    "safetensors": "safetensors",
    "pydantic": "pydantic",
    "typer": "typer",
    "rich": "rich",
    "g2pm": "g2pM",
    "duckdb": "duckdb",
}
"""Modules by the name of their package: all that the suite imports besides a framework."""
FRAMEWORKS = ("torch", "jax")
"""The frameworks that are measured on a GPU."""


def main() -> int:
    """Look, and say; the exit code."""
    missing = [package for package, module in NEEDED.items() if not _imports(module)]
    if missing:
        again = " ".join(f"--with {package}" for package in missing)
        print(
            f"run.sh: {sys.executable} must be able to import {', '.join(missing)}, and cannot: install them, or make "
            f"the kit again with {again}",
            file=sys.stderr,
        )
        return 2
    if not any(find_spec(framework) for framework in FRAMEWORKS):
        print(f"run.sh: {sys.executable} must have {' or '.join(FRAMEWORKS)}; it has neither", file=sys.stderr)
        return 2
    return 0


def _imports(module: str) -> bool:
    """Whether a module can be imported."""
    try:
        import_module(module)
    except Exception:  # what is broken is as good as missing
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
