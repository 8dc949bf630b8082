"""``birnn run``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from birnn.options import Device, Dtypes, Implementations, Threads, Timeout, WithoutPlugin


def run_command(
    cases: Annotated[list[Path], typer.Argument(metavar="CASE...", help="Case files.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Results go to DIR/CASE/FRAMEWORK-NAME-DTYPE.safetensors.")
    ],
    implementation: Implementations = [],  # noqa: B006
    dtype: Dtypes = ["float32", "float64"],  # noqa: B006
    device: Device = "cpu",
    timeout: Timeout = 120.0,
    threads: Threads = 1,
    again: Annotated[bool, typer.Option("--again", help="Run what an earlier run has left results of, too.")] = False,
    without_plugin: WithoutPlugin = [],  # noqa: B006
) -> None:
    """Run each case in each implementation and write the results; what is there already is kept.

    Exit 0 when everything ran or is unsupported, 1 when something failed, crashed or timed out, 2 for bad input or a
    broken environment, 3 when all is unsupported.
    """
    from backends.studies.study import RAN
    from birnn.commands.outcomes import print_outcomes
    from birnn.commands.study import exit_code, read_cases, run_study
    from birnn.display import count_of, say_written, stdout
    from birnn.options import writable_folder

    writable_folder("--out", out)
    result = run_study(
        read_cases(cases),
        implementation,
        dtype,
        device,
        timeout,
        threads,
        out=out,
        judged=False,
        resumed=not again,
        paths=cases,
    )
    console = stdout()
    print_outcomes(console, result.outcomes, judged=False)
    if ran := sum(each.status == RAN for each in result.outcomes):
        say_written(out, count_of(ran, "result"))
    raise typer.Exit(exit_code(result))
