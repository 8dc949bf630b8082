"""``birnn verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from birnn.options import (
    Device,
    Directions,
    Dtypes,
    Implementations,
    Lane,
    LayerFile,
    LayerFramework,
    LayerPython,
    Threads,
    Timeout,
    Verbose,
    WithoutPlugin,
)


def verify_command(
    context: typer.Context,
    cases: Annotated[
        list[Path] | None, typer.Argument(metavar="[CASE...]", help="Case files; default: the built-in cases.")
    ] = None,
    implementation: Implementations = [],  # noqa: B006
    dtype: Dtypes = ["float32", "float64"],  # noqa: B006
    device: Device = "cpu",
    lane: Lane = "exact",
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write everything there, too.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Keep the results there, as birnn run does.")
    ] = None,
    results: Annotated[
        list[Path],
        typer.Option(
            "--result",
            metavar="FILE",
            help="Instead of running anything: judge this result file of the one CASE, whoever wrote it; repeatable.",
        ),
    ] = [],  # noqa: B006
    models: Annotated[
        bool, typer.Option("--models", help="Instead of cases: the models, with loss and all gradients.")
    ] = False,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="The fewest built-in cases that catch every known mistake in every cell."),
    ] = False,
    directions: Directions = None,
    layer: LayerFile = None,
    framework: LayerFramework = None,
    python: LayerPython = None,
    gradients: Annotated[
        bool, typer.Option("--gradients/--no-gradients", help="Whether gradients are judged; NumPy has none.")
    ] = True,
    timeout: Timeout = 120.0,
    threads: Threads = 1,
    without_plugin: WithoutPlugin = [],  # noqa: B006
    verbose: Verbose = False,
) -> None:
    """Hold every implementation against the float64 reference, and against what the cases expect.

    With --layer, hold a function of a Python file against it, in its framework's environment or in an interpreter of
    yours; alone, unless --implementation names others beside it.

    With --result, hold result files against it that any other program wrote for one case; no framework is needed. What
    a file lacks (gradients, say) leaves it not judged.

    Exit 0 when all agree (unsupported is no failure), 1 when anything disagrees, fails, crashes or times out, 2 for bad
    input, or when an environment is broken or was asked for by name and is missing, 3 when all is unsupported or
    something could not be judged.
    """
    from birnn.commands.outcomes import print_outcomes
    from birnn.commands.study import exit_code, judge_result_files, read_cases, run_model_study, run_study, write_report
    from birnn.display import say_written, stdout
    from birnn.options import register_layer, writable_file, writable_folder
    from birnn.own_layer import forward_alone, of_directions
    from common.cases.builtin import builtin_cases, quick_cases
    from common.errors import InputError

    if results:
        _refuse_what_runs(context, cases)
    if models and layer is not None:
        raise InputError("--models must stand without --layer, which is no model")
    if models and not gradients:
        raise InputError("--models must stand without --no-gradients: the models are judged with all their gradients")
    if models and lane != "exact":
        raise InputError("--models must stand without --lane fast: the models are judged in the exact lane")
    if models and (cases or out is not None):
        raise InputError("--models must stand without case files and --out: the models are built in")
    if quick and (cases or models):
        raise InputError("--quick must stand without case files and --models: it is a part of the built-in cases")
    if directions and (cases or models):
        raise InputError("--directions must stand without case files and --models: it chooses among the built-in cases")
    if out is not None:
        writable_folder("--out", out)
    if json_file is not None:
        writable_file("--json", json_file)
    implementation = [*implementation, *register_layer(layer, framework, python)]
    built_in = [] if models or cases else quick_cases() if quick else builtin_cases()
    chosen = read_cases(cases) if cases else of_directions(built_in, directions or (2 if layer else None))
    if not gradients or framework == "numpy":
        chosen = [forward_alone(case) for case in chosen]
    if results:
        result = judge_result_files(chosen[0], results, lane, timeout)
    elif models:
        result = run_model_study(implementation, dtype, device, timeout, threads)
    else:
        result = run_study(
            chosen,
            implementation,
            dtype,
            device,
            timeout,
            threads,
            out=out,
            judged=True,
            resumed=False,
            lane=lane,
            paths=cases or (),
        )
    console = stdout()
    print_outcomes(console, result.outcomes, judged=True, verbose=verbose)
    if quick:
        console.print(f"{len(chosen)} built-in cases; birnn verify without --quick runs all", markup=False)
    console.print(result.summary() + ("" if gradients and framework != "numpy" else "; no gradient was judged"))
    if json_file is not None:
        write_report(result, chosen, json_file)
        say_written(json_file, "the report")
    if out is not None and any(each.verdict for each in result.outcomes):
        say_written(out, "the results")
    raise typer.Exit(exit_code(result))


RUNNING = (
    *("implementation", "dtype", "device", "out", "models", "layer", "quick", "directions", "gradients", "threads"),
    "without_plugin",
)
"""Options that say what to run, and how."""


def _refuse_what_runs(context: typer.Context, cases: list[Path] | None) -> None:
    """Raise an ``InputError`` for what makes no sense where nothing is run."""
    from common.errors import InputError

    if len(cases or []) != 1:
        raise InputError(f"--result must come with one case file, whose results they are; got {len(cases or [])}")
    for name in RUNNING:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise InputError(f"--result must stand without --{name.replace('_', '-')}: nothing is run")
