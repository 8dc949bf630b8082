"""``birnn bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from birnn.options import (
    LARGEST_SEED,
    MOST_THREADS,
    Device,
    Implementations,
    Lane,
    LayerFile,
    LayerFramework,
    LayerPython,
    Timeout,
    WithoutPlugin,
)


def bench_command(
    cases: Annotated[
        str,
        typer.Option(
            "--cases",
            metavar="NAME|FILE.toml",
            help="A set: laptop, gpu, standard, deepbench, pipeline, smoke, systems.",
        ),
    ] = "laptop",
    case: Annotated[
        list[str], typer.Option("--case", metavar="GLOB", help="Only cases of the set with such a name; repeatable.")
    ] = [],  # noqa: B006
    implementation: Implementations = [],  # noqa: B006
    passes: Annotated[
        str | None,
        typer.Option("--passes", help="forward, forward_backward, train_step, with commas; default: the set's."),
    ] = None,
    dtype: Annotated[list[str], typer.Option("--dtype", help="Default: the set's; repeatable.")] = [],  # noqa: B006
    device: Device = "cpu",
    lane: Lane = "exact",
    threads: Annotated[
        list[int],
        typer.Option(
            "--threads", min=1, max=MOST_THREADS, help="Threads in each worker; default: all; repeatable: tracks."
        ),
    ] = [],  # noqa: B006
    processes: Annotated[
        int, typer.Option("--processes", min=1, max=1000, help="Fresh processes that each combination is measured in.")
    ] = 3,
    budget: Annotated[
        str, typer.Option("--budget", metavar="TIME", help="When to stop, as in 90s, 10m or 2h.")
    ] = "10m",
    wait: Annotated[
        float,
        typer.Option(
            "--wait",
            metavar="SECONDS",
            min=0,
            max=86_400,
            help="How long to wait at most for others to stop working.",
        ),
    ] = 30.0,
    store: Annotated[
        Path, typer.Option("--store", metavar="FILE", help="Where everything is kept; made where there is none.")
    ] = Path("results.duckdb"),
    label: Annotated[str, typer.Option("--label", help="A name for the run, for birnn compare.")] = "",
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Of the order; drawn and stored by default.")
    ] = None,
    layer: LayerFile = None,
    framework: LayerFramework = None,
    python: LayerPython = None,
    timeout: Timeout = 300.0,
    again: Annotated[bool, typer.Option("--again", help="A new run, where an earlier one would go on.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed, crashed, disagreed or timed out.")
    ] = False,
    show: Annotated[
        list[str], typer.Option("--show", help="Print also memory, throughput or tails (p95, p99); repeatable.")
    ] = [],  # noqa: B006
    why: Annotated[
        bool, typer.Option("--why", help="Measure nothing: say for each case why it will run or not.")
    ] = False,
    doctor: Annotated[
        bool, typer.Option("--doctor", help="Measure nothing: say whether this machine is fit to measure on.")
    ] = False,
    without_plugin: WithoutPlugin = [],  # noqa: B006
) -> None:
    """Time implementations side by side, after each has been held against the reference.

    Every block of samples is in the store at once. After Ctrl-C, a crash or the end of the budget the same command goes
    on where it stopped. Exit 0 when what was asked for is measured or the budget is over, 1 when something disagrees,
    fails, crashes or times out, 2 for bad input or a broken environment, 3 when nothing has a time.
    """
    from birnn.commands.bench import Wishes, bench, examine, explain
    from birnn.options import register_layer

    wishes = Wishes(
        cases=cases,
        case_patterns=case,
        patterns=implementation,
        own=register_layer(layer, framework, python),
        passes=passes,
        dtypes=dtype,
        device=device,
        lane=lane,
        threads=threads,
        processes=processes,
        budget=budget,
        timeout_seconds=timeout,
        wait_seconds=wait,
        show=show,
    )
    if doctor:
        raise typer.Exit(examine(wishes))
    if why:
        raise typer.Exit(explain(wishes, store))
    raise typer.Exit(bench(wishes, store, label=label, seed=seed, again=again, retry_failed=retry_failed))
