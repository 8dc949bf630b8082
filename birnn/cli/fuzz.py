"""``birnn fuzz``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from birnn.options import (
    LARGEST_SEED,
    Device,
    Directions,
    Implementations,
    LayerFile,
    LayerFramework,
    LayerPython,
    Threads,
    Timeout,
    WithoutPlugin,
)


def fuzz_command(
    implementation: Implementations = [],  # noqa: B006
    dtype: Annotated[list[str], typer.Option("--dtype", help="What to draw from; repeatable.")] = [  # noqa: B006
        "float32",
        "float64",
    ],
    cell: Annotated[
        list[str],
        typer.Option("--cell", help="rnn_tanh, rnn_relu, gru, gru_before or lstm; default: all; repeatable."),
    ] = [],  # noqa: B006
    directions: Directions = None,
    device: Device = "cpu",
    budget: Annotated[str, typer.Option("--time", metavar="TIME", help="When to stop, as in 90s, 10m or 2h.")] = "5m",
    batches: Annotated[
        int | None,
        typer.Option("--batches", min=1, help="So many batches of draws for each implementation, whatever they take."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Of all draws; default: another every time.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where what fails is written.")] = Path("fuzz"),
    layer: LayerFile = None,
    framework: LayerFramework = None,
    python: LayerPython = None,
    gradients: Annotated[
        bool, typer.Option("--gradients/--no-gradients", help="Whether gradients are judged; NumPy has none.")
    ] = True,
    threads: Threads = 1,
    timeout: Timeout = 120.0,
    without_plugin: WithoutPlugin = [],  # noqa: B006
) -> None:
    """Draw cases around the edges that matter, judge each, and make what fails as small as it gets.

    Every failure is written to DIR as a case file, which birnn verify takes, and where the framework's own layer is at
    fault as a script of the framework alone.

    Exit 0 when nothing failed, 1 when something did, 2 for bad input or a broken environment, 3 when nothing could be
    judged.
    """
    from birnn.commands.fuzz import Wishes, fuzz
    from birnn.options import register_layer

    patterns = [*implementation, *register_layer(layer, framework, python)]
    gradients = gradients and framework != "numpy"
    several = (directions,) if directions else (2,) if layer else (1, 2)
    wishes = Wishes(patterns, dtype, cell, several, device, budget, batches, seed, out, gradients, threads, timeout)
    raise typer.Exit(fuzz(wishes))
