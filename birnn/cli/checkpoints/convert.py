"""``birnn convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from birnn.options import Timeout


def convert_command(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A checkpoint of any of the suites.")],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The file to write.")],
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="torch, safetensors, keras, keras-weights, keras2, flax-linen, flax-nnx, mxnet, mxnet-prefix, onnx or "
            "birnn; default: by TARGET's ending.",
        ),
    ] = None,
    layer: Annotated[
        list[str], typer.Option("--layer", metavar="NAME=NEW", help="Write a layer under another name; repeatable.")
    ] = [],  # noqa: B006
    spec: Annotated[
        Path | None,
        typer.Option("--spec", metavar="JSON", help="What the file does not tell: cell, reset_after, merge …"),
    ] = None,
    only_rnn: Annotated[bool, typer.Option("--only-rnn", help="Leave out all but the recurrent layers.")] = False,
    prove: Annotated[
        bool, typer.Option("--prove/--no-prove", help="Run both files in their own frameworks and compare.")
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace TARGET if it is there.")] = False,
    timeout: Timeout = 120.0,
) -> None:
    """Write a checkpoint for another suite, and prove it: TARGET.proof.json says how.

    Exit 0 when it is written and proved (or --no-prove), 1 when a layer cannot be held (nothing is written) or the
    proof fails, 2 for bad input, 3 when it is written and could not be proved.
    """
    from birnn.commands.convert import Asked, convert

    asked = Asked(source, target, to, tuple(layer), spec, only_rnn, prove, force, timeout)
    raise typer.Exit(convert(asked))
