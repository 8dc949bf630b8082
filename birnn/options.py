"""Options that several commands share, and the checks that turn their text into values."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from common.errors import InputError, shown
from common.output import is_written_through

MOST_THREADS = 4096
"""The largest number of threads that is taken."""
LARGEST_SEED = 2**63 - 1
"""What every store and random number generator takes."""

Implementations = Annotated[
    list[str],
    typer.Option(
        "--implementation",
        "-i",
        help="framework/name, for example torch/native; shell globs such as 'jax/*'; repeatable.",
    ),
]
"""The option that chooses implementations."""
Dtypes = Annotated[
    list[str], typer.Option("--dtype", help="float16, bfloat16, float32 or float64; repeatable.", show_default=True)
]
"""The option that chooses dtypes."""
Device = Annotated[str, typer.Option("--device", help="cpu or gpu.")]
"""The option that chooses the device."""
Checkpoint = Annotated[
    Path | None, typer.Option("--checkpoint", metavar="FILE", help="Of birnn train; g2pm brings its own weights.")
]
"""The option for a trained model."""
Framework = Annotated[str, typer.Option("--framework", "-f", help="Any framework, or framework/implementation.")]
"""The option for what runs a trained model."""
Lane = Annotated[str, typer.Option("--lane", help="exact (float32 is float32) or fast (the frameworks' defaults).")]
"""The option that chooses the precision lane."""
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        min=0.1,
        max=1e6,
        help="Seconds after which a run of a case, or the reference, is killed.",
    ),
]
"""The option for how long a worker or the reference may take."""
Threads = Annotated[
    int, typer.Option("--threads", min=1, max=MOST_THREADS, help="Threads in each worker, the same in every framework.")
]
"""The option for the threads of each worker."""

Directions = Annotated[
    int | None,
    typer.Option(
        "--directions",
        min=1,
        max=2,
        help="Cases of 2 directions, or of 1: forward only. Default: both; 2 with --layer.",
    ),
]
"""The option that chooses one direction or two."""

LayerFile = Annotated[
    str | None,
    typer.Option(
        "--layer", metavar="FILE:NAME", help="A layer of yours, a function of a Python file: own/NAME (docs/api.md)."
    ),
]
"""The option that names a function to be verified, by its file."""
LayerFramework = Annotated[
    str | None,
    typer.Option("--framework", metavar="NAME", help="What --layer is written in; its environment runs it."),
]
"""The option that names the framework of such a function."""
LayerPython = Annotated[
    Path | None, typer.Option("--python", metavar="PATH", help="An interpreter of yours that runs --layer instead.")
]
"""The option that names an interpreter of the user's for such a function."""
Verbose = Annotated[bool, typer.Option("--verbose", help="A line for every failure, with all reasons below it.")]
"""The option to have every failure spelt out."""


def _leave_out(names: list[str]) -> list[str]:
    """Leave plug-ins out before anything asks for them."""
    if names:
        from backends.registry import leave_out

        leave_out(names)
    return names


def register_layer(layer: str | None, framework: str | None, python: Path | None) -> list[str]:
    """Make a backend of the layer that was asked for, if any; the patterns that select it.

    It runs in ``python``, or in the framework's tox environment, or, where there is none, in this interpreter if that
    has the framework, which is said.

    Raises
    ------
    InputError
        If one of the three is wrong, or comes without the layer.
    """
    if layer is None:
        for option, value in (("--framework", framework), ("--python", python)):
            if value is not None:
                raise InputError(f"{option} must come with --layer, which it is about")
        return []
    if framework is None:
        raise InputError("--layer must come with --framework, what the layer is written in; got none")
    from backends.pool.environments import interpreter, override_variable
    from backends.registry import add
    from backends.worker.own_layer import layer_backend
    from birnn.display import stderr

    backend = layer_backend(layer, framework)
    add(backend)
    if python is None and interpreter(backend) is None and importlib.util.find_spec(framework) is not None:
        python = Path(sys.executable)
        note = f"birnn: own runs in this interpreter, which has {framework}: there is no tox environment of it"
        stderr().print(note, markup=False)
    if python is not None:
        os.environ[override_variable(backend)] = str(python)
    return [f"{backend.name}/*"]


WithoutPlugin = Annotated[
    list[str],
    typer.Option(
        "--without-plugin",
        metavar="NAME",
        callback=_leave_out,
        help="Do not load this plug-in, the name of its entry point; repeatable.",
    ),
]
"""The option that leaves plug-ins out."""


def one_of(option: str, value: str, allowed: Sequence[str]) -> str:
    """``value``, if it is one of those allowed, else an ``InputError``."""
    if value not in allowed:
        raise InputError(f"{option} must be one of {', '.join(allowed)}; got {shown(value)}")
    return value


def each_once(values: Sequence[str]) -> list[str]:
    """The values in their order, without repetitions."""
    return list(dict.fromkeys(values))


def lengths_from(text: str | None) -> tuple[int, ...] | None:
    """``"5,3,1"`` to (5, 3, 1)."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--lengths must be whole numbers with commas between them; got {shown(text)}") from None


def writable_folder(option: str, folder: Path) -> Path:
    """Make ``folder`` and see that a file can be written there, before anything long begins."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{option} must be a folder that can be written; got {folder}: {os.strerror(error.errno or 0)}"
        ) from None
    return folder


@contextlib.contextmanager
def alone_in(option: str, folder: Path) -> Iterator[None]:
    """Have a folder for this process, as long as all ask in this way; nothing is left in it, whatever ends the process.

    Raises
    ------
    InputError
        If another process has it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{option} must be a folder that no other process writes to; {folder} is in use") from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)


def writable_file(option: str, file: Path) -> Path:
    """See that ``file`` can be written, before anything long begins; a pipe or a device of characters is as good."""
    try:
        if file.is_dir():
            raise InputError(f"{option} must be a file; got the folder {file}")
        if not is_written_through(file):
            writable_folder(f"{option}'s folder", Path(os.path.realpath(file)).parent)
        if file.exists() and not os.access(file, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise InputError(f"{option} must be a file that can be written; got {file}: {error.strerror}") from None
    return file
