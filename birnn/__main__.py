"""The command ``birnn``: it runs one command, and turns whatever ends it into one sentence and an exit code."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from birnn import exit_codes

if TYPE_CHECKING:
    import typer

ROOT = Path(__file__).resolve().parent.parent
"""The folder of the sources."""
PACKAGES = ("common", "backends", "benchmarks")
"""The suite's packages beside ``birnn``; each has a name that another project's might have."""
REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE)
"""What no command is to blame for: a full or failing disk, too many open files."""

OUT_OF_REACH = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)
"""What the system says of a file that a user named and that cannot even be looked at."""


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # where the locale knows no –, ×, ±
    surroundings = _no_working_folder() or _foreign_package()
    if surroundings:
        print(f"birnn: {surroundings}", file=sys.stderr)
    sys.exit(exit_codes.BAD_INPUT if surroundings else _flushed(_ended(_run)))


def _run() -> int:
    """Run the command line; its exit code."""
    from birnn.app import command

    return command()(prog_name="birnn", standalone_mode=False) or 0


def _ended(run: Callable[[], int]) -> int:
    """What ``run`` returns, or the code for how it ended."""
    import typer

    from common.errors import InputError, shown

    try:
        return run()
    except InputError as error:
        return _complain(str(error))
    except typer.TyperException as error:
        return _complain(_with_help(error))
    except MemoryError:
        return _complain("what is asked for must fit into this machine's memory; it does not")
    except (KeyboardInterrupt, typer.Abort):
        print("birnn: interrupted", file=sys.stderr)
        return exit_codes.INTERRUPTED
    except BrokenPipeError:
        return _reader_gone()
    except OSError as error:
        if error.errno in REFUSED:
            _discard(sys.stdout)
            return _complain(f"the system must let birnn write and open files; got: {error}")
        if error.errno in OUT_OF_REACH and error.filename is not None:
            return _complain(f"{shown(str(error.filename), 200)} must be a file within reach; got: {error.strerror}")
        return _fault(error)
    except SystemExit as error:
        if _completing():  # Typer (0.29) ends so what completes a word, and what prints or installs that
            return error.code if isinstance(error.code, int) else exit_codes.AGREED
        # No part of birnn raises it, so it is no success. Typer (0.29) makes 1 of a reader that has gone.
        return _reader_gone() if isinstance(error.__context__, BrokenPipeError) else _fault(error)
    except Exception as error:
        return _fault(error)


def _with_help(error: typer.TyperException) -> str:
    """What Typer says of words it cannot take, and which help says what it takes; nothing where it has shown help."""
    message, context = error.format_message(), getattr(error, "ctx", None)
    return f"{message} ({context.command_path} --help says what it takes)" if message and context else message


def _completing() -> bool:
    """Whether a shell asks for completions, or a user for the script that does."""
    return "_BIRNN_COMPLETE" in os.environ or bool({"--show-completion", "--install-completion"} & set(sys.argv))


def _flushed(code: int) -> int:
    """The code when all that was printed has gone out, else that of what kept it from going out."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_gone()
    except OSError as error:
        _discard(sys.stdout)
        return _complain(f"the output must be written whole; got: {error}")
    return code


def _reader_gone() -> int:
    """Let go of stdout, which nobody reads any more; the exit code for that."""
    _discard(sys.stdout)
    return exit_codes.READER_GONE


def _discard(stream: TextIO) -> None:
    """Send what the stream still holds nowhere, so that Python's last flush does not fail a second time."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _complain(sentence: str) -> int:
    """Say what is wrong with the input; its exit code."""
    if not sentence:  # a command without arguments has printed its help
        return exit_codes.AGREED
    _say(sentence)
    return exit_codes.BAD_INPUT


def _say(sentence: str) -> None:
    """Print a sentence to stderr, without anything that a terminal would act on."""
    from common.terminal import plain

    print(f"birnn: {plain(' '.join(sentence.split()))}", file=sys.stderr)


def _fault(error: BaseException) -> int:
    """Say that the suite itself has failed, and where; the exit code for that."""
    _say(_internal_error(error))
    return exit_codes.INTERNAL_ERROR


def _internal_error(error: BaseException) -> str:
    """Write the traceback to a file of its own; one sentence that says where, and what it was."""
    from common.errors import shown

    what = f"an error of birnn's own, {type(error).__name__}: {shown(str(error), 200)}"
    text = "".join(traceback.format_exception(error))
    for folder in _log_folders():
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            handle, path = tempfile.mkstemp(prefix="birnn-error-", suffix=".log", dir=folder)
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{' '.join(sys.argv)}\nPython {sys.version}\n\n{text}")
            return f"{what}; the traceback, for a report, is in {path}"
    return f"{what}; no folder for a traceback could be written, so here it is: {text}"


def _log_folders() -> Iterator[Path]:
    """Temporary and cache folders, but never the working folder, which ``tempfile`` takes where nothing else serves."""
    with contextlib.suppress(OSError):
        temporary = Path(tempfile.gettempdir())
        if temporary.resolve() != Path.cwd():
            yield temporary
    cache = os.environ.get("XDG_CACHE_HOME", "")
    with contextlib.suppress(RuntimeError):  # no home
        yield (Path(cache) if Path(cache).is_absolute() else Path.home() / ".cache") / "birnn"


def _no_working_folder() -> str:
    """A sentence on a working folder that has been removed, or ""."""
    try:
        Path.cwd()
    except OSError as error:
        return f"the working folder must be there; got: {error.strerror}: change to another one"
    return ""


def _foreign_package() -> str:
    """A sentence on a package of another origin that lies before one of birnn's on Python's path, or ""."""
    for name in PACKAGES:
        module = find_spec(name)
        places = [] if module is None else [Path(place).resolve() for place in module.submodule_search_locations or ()]
        origin = [Path(module.origin).resolve()] if module is not None and module.origin else []
        if ROOT / name not in places:
            got = next((repr(str(place)) for place in [*places, *origin]), "none")
            return f"the package {name} must be birnn's own; got {got}: take that off PYTHONPATH, or leave that folder"
    return ""


if __name__ == "__main__":
    main()
