"""``birnn embed``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from birnn.options import Checkpoint, Device, Framework, Threads, Timeout, WithoutPlugin


def embed_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="tagger, classifier (of texts), masked or g2pm.")],
    sentence: Annotated[str, typer.Argument(metavar="SENTENCE", help="The sentence that the word stands in.")],
    word: Annotated[
        str | None,
        typer.Option(
            "--word", metavar="WORD[:N]", help="The word, and which one where it stands there N times. Default: every."
        ),
    ] = None,
    checkpoint: Checkpoint = None,
    framework: Framework = "torch/manual",
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="FILE", help="CoNLL-U or plain text, such as the training data: its words are neighbours."
        ),
    ] = None,
    neighbours: Annotated[
        int, typer.Option("--neighbours", metavar="K", min=1, max=1000, help="How many of --data to show.")
    ] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the whole vectors.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the JSON there, a file that ends in .json.")
    ] = None,
    dtype: Annotated[str, typer.Option("--dtype", help="float32 or float64.")] = "float32",
    device: Device = "cpu",
    threads: Threads = 1,
    timeout: Timeout = 120.0,
    without_plugin: WithoutPlugin = [],  # noqa: B006
) -> None:
    """Print a word's contextual vector, from both directions, and its nearest neighbours beside the static embedding's.

    Exit 0 when it has answered, 1 when the implementation fails, 2 for bad input or a broken environment, 3 when the
    implementation does not support it.
    """
    from birnn.commands.answers.asking import Chosen
    from birnn.commands.answers.embed import Looking, embed

    chosen = Chosen(framework, dtype, device, threads, timeout)
    raise typer.Exit(embed(Looking(model, sentence, word, checkpoint, data, neighbours, chosen, as_json, out)))
