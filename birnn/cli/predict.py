"""``birnn predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from birnn.options import LARGEST_SEED, Device, Threads, Timeout, WithoutPlugin


def predict_command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="pipeline, tagger, classifier, seq2seq, masked, language or g2pm.")
    ],
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT...]", help="Sentences, or words for seq2seq.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", metavar="FILE", help="Of birnn train; g2pm brings its own weights.")
    ] = None,
    framework: Annotated[
        str, typer.Option("--framework", "-f", help="Any framework, or framework/implementation.")
    ] = "torch/manual",
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="FILE",
            help="Texts, one a line; or arrays: .npy (batch, seq_len, features), or safetensors with x and lengths.",
        ),
    ] = None,
    dtype: Annotated[str, typer.Option("--dtype", help="float32 or float64.")] = "float32",
    device: Device = "cpu",
    max_steps: Annotated[
        int,
        typer.Option(
            "--max-steps", min=1, max=1_000_000, help="seq2seq: longest answer; language: tokens that are written."
        ),
    ] = 40,
    prompt: Annotated[str | None, typer.Option("--prompt", help="language: the text that is gone on with.")] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature", min=0, max=100, help="language: 0 writes the likeliest token (default), above 0 draws one."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, max=LARGEST_SEED, help="language: of what is drawn; default 0.")
    ] = None,
    threads: Threads = 1,
    timeout: Timeout = 120.0,
    without_plugin: WithoutPlugin = [],  # noqa: B006
) -> None:
    """Run a checkpoint that was trained in one framework in any other, and print its answers, or what it writes.

    Exit 0 when it has answered, 1 when the implementation fails, 2 for bad input or a broken environment, 3 when the
    implementation does not support it.
    """
    from birnn.commands.predict import Asked, Prompt, predict

    asked = Asked(
        model, tuple(texts or ()), data, checkpoint, framework, dtype, device, max_steps, threads, timeout,
        Prompt(prompt, temperature, seed),
    )  # fmt: skip
    raise typer.Exit(predict(asked))
