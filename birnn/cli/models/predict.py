"""``birnn predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from birnn.options import LARGEST_SEED, Checkpoint, Device, Threads, Timeout, WithoutPlugin


def predict_command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="pipeline, tagger, classifier, seq2seq, masked, language or g2pm.")
    ],
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT...]", help="Sentences, or words for seq2seq.")
    ] = None,
    checkpoint: Checkpoint = None,
    framework: Annotated[
        str | None,
        typer.Option("--framework", "-f", help="Any framework, or framework/implementation. Default: torch/manual."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="FILE",
            help="Texts, one a line; or arrays: .npy (batch, seq_len, features), or safetensors with x and lengths. "
            "With the right answers (docs/int8.md), the accuracy is told.",
        ),
    ] = None,
    dtype: Annotated[str, typer.Option("--dtype", help="float32 or float64.")] = "float32",
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            metavar="K",
            min=1,
            help="The K likeliest answers, with probabilities; of seq2seq by --beam.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with probabilities.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write answers and probabilities there instead: .json or .tsv."),
    ] = None,
    stages: Annotated[
        bool, typer.Option("--stages", help="Print the model's four stages with their shapes, and a row of softmax.")
    ] = False,
    attention: Annotated[
        Path | None,
        typer.Option("--attention", metavar="FILE", help="seq2seq: draw where each step looks, an .svg, for one word."),
    ] = None,
    beam: Annotated[
        int | None,
        typer.Option("--beam", metavar="K", min=1, max=1000, help="seq2seq: search with a beam of K, not greedily."),
    ] = None,
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
    chunk: Annotated[
        int | None,
        typer.Option(
            "--chunk", min=1, max=1_000_000, help="Stream: answer so many steps at a time, as if they were arriving."
        ),
    ] = None,
    look_ahead: Annotated[
        int,
        typer.Option(
            "--look-ahead", min=0, max=1_000_000, help="Steps behind a chunk that the reverse direction reads first."
        ),
    ] = 0,
    constraints: Annotated[
        bool,
        typer.Option(
            "--constraints/--no-constraints", help="tagger with a CRF: answer legal tags of entities alone, or any."
        ),
    ] = True,
    quantize: Annotated[
        str | None,
        typer.Option(
            "--quantize", metavar="KIND", help="int8: kernels of 8 bits; int8-dynamic: products, too, in NumPy."
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE", help="Write the quantized model there, a .safetensors to predict with."),
    ] = None,
    threads: Threads = 1,
    timeout: Timeout = 120.0,
    without_plugin: WithoutPlugin = [],  # noqa: B006
) -> None:
    """Run a checkpoint that was trained in one framework in any other, and print its answers.

    Exit 0 when it has answered, 1 when the implementation fails, 2 for bad input or a broken environment, 3 when the
    implementation does not support it.
    """
    from birnn.commands.answers.prompt import Prompt
    from birnn.commands.answers.quantizing import Quantizing
    from birnn.commands.predict import Asked, predict
    from common.errors import InputError
    from common.models.streaming import Streaming

    if look_ahead and chunk is None:
        raise InputError(f"--look-ahead must stand with --chunk; got --look-ahead {look_ahead} alone")
    asked = Asked(
        model=model,
        texts=tuple(texts or ()),
        data=data,
        checkpoint=checkpoint,
        framework=framework,
        dtype=dtype,
        device=device,
        max_steps=max_steps,
        threads=threads,
        timeout_seconds=timeout,
        top=top,
        as_json=as_json,
        out=out,
        stages=stages,
        attention=attention,
        beam=beam,
        streaming=None if chunk is None else Streaming(chunk=chunk, look_ahead=look_ahead),
        prompt=Prompt(prompt, temperature, seed),
        constraints=constraints,
        quantizing=Quantizing(quantize, save),
    )
    raise typer.Exit(predict(asked))
