"""Where each framework's interpreter is, and what a worker process is given to start with."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

from backends.registry import Backend

ROOT = Path(__file__).resolve().parents[2]
"""The folder of the sources."""
PACKAGES = ("backends", "benchmarks", "birnn", "common")
"""The suite's packages, which alone of the controller's path a worker gets."""
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NPROC",  # the only one that jax reads
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "MXNET_CPU_WORKER_NTHREADS",
)
"""The environment variables that hold a library's number of threads."""


def in_checkout() -> bool:
    """Whether the suite runs from a checkout, as by ``pip install -e .``, and not from among installed packages."""
    return (ROOT / "tox.ini").is_file() and (ROOT / "pyproject.toml").is_file()


@cache
def suite_path() -> Path:
    """A folder with the suite's packages and no other: the checkout, or one of links, removed when this process ends.

    A worker that was given the folder of all installed packages would import this interpreter's NumPy, not its own.
    """
    if in_checkout():
        return ROOT
    folder = Path(tempfile.mkdtemp(prefix="birnn-packages-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in PACKAGES:
        (folder / name).symlink_to(ROOT / name)
    return folder


def override_variable(backend: Backend) -> str:
    """The environment variable that names another interpreter for a backend."""
    return f"BIRNN_PYTHON_{backend.name.upper().replace('-', '_')}"


def tox_folder() -> Path:
    """Where tox keeps its environments."""
    return Path(os.environ.get("TOX_WORK_DIR", ROOT / ".tox"))


def interpreter(backend: Backend) -> Path | None:
    """The Python that has the backend's framework, or None when it is not there."""
    named = os.environ.get(override_variable(backend))
    if named:
        program = shutil.which(named)
        return Path(program) if program else None
    if backend.environment is None:
        return Path(sys.executable)
    path = tox_folder() / backend.environment / "bin" / "python"
    return path if path.exists() else None


def how_to_create(backend: Backend) -> str:
    """What to do when ``interpreter`` found nothing, as the end of a sentence."""
    variable = override_variable(backend)
    if os.environ.get(variable):
        return f"set {variable} to a Python interpreter; got {os.environ[variable]!r}"
    where = ROOT if in_checkout() else "a checkout of birnn (pip install -e .), from which the suite runs"
    return f"create it with: tox run -e {backend.environment} --notest, in {where}"


NOTHING_KEPT = {"JAX_ENABLE_COMPILATION_CACHE": "0", "BIRNN_JAX_PROGRAMS": "", "BIRNN_TENSORFLOW_PROGRAMS": ""}
"""Variables with which workers neither take nor leave programs of other processes."""


def compilation_cache(backend: Backend) -> dict[str, str]:
    """Variables that make JAX keep its compiled programs, and TensorFlow its optimized ones, inside a tox environment,
    so that they go when it goes.

    JAX's cache spares the compiler, and what is kept by us (layer/programs.py in both folders) spares tracing and
    lowering, or tracing and optimizing. The key of an entry holds the program, or what it follows from, versions and
    switches. JAX_ENABLE_COMPILATION_CACHE=0 turns both of JAX's off, and ``NOTHING_KEPT`` everything.
    """
    if backend.environment is None or override_variable(backend) in os.environ:
        return {}
    folder = tox_folder() / backend.environment
    return {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "jax-cache"),
        "BIRNN_JAX_PROGRAMS": str(folder / "jax-programs"),
        "BIRNN_TENSORFLOW_PROGRAMS": str(folder / "tensorflow-programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def own_folder(folder: Path) -> dict[str, str]:
    """Variables that keep in a worker's own folder what frameworks write unasked, so that it goes with the worker.

    Profilers, torch's torchinductor_<user> and MXNet's checkpoints go to TMPDIR; Keras writes a file into the user's
    home, and reads its settings from one that is there.
    """
    return {"TMPDIR": str(folder), "KERAS_HOME": str(folder / "keras")}


def worker_environment(threads: int) -> dict[str, str]:
    """Environment variables for a worker: the same number of threads in every framework, quiet logs, readable
    crashes.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    environment |= {"PYTHONFAULTHANDLER": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    # Workers share a GPU: by default JAX takes three quarters of its memory when it starts, TensorFlow all of it.
    environment |= {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(suite_path()), os.environ.get("PYTHONPATH")]))
    return environment
