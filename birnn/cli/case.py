"""``birnn case new`` and ``birnn case show``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from birnn.options import LARGEST_SEED

case_app = typer.Typer(help="Make and look at case files.", no_args_is_help=True)


@case_app.command("new")
def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The case file to write.")],
    cell: Annotated[str, typer.Option(help="rnn_tanh, rnn_relu, gru or lstm.")] = "gru",
    input_size: Annotated[int, typer.Option(help="Features of a step.")] = 4,
    hidden_size: Annotated[int, typer.Option(help="Units in each direction.")] = 6,
    hidden_size_reverse: Annotated[
        int | None, typer.Option(help="Units of the reverse direction where it has others; for concat alone.")
    ] = None,
    directions: Annotated[int, typer.Option("--directions", min=1, max=2, help="2, or 1: forward only.")] = 2,
    num_layers: Annotated[int, typer.Option(help="Stacked layers.")] = 1,
    batch: Annotated[int | None, typer.Option(help="Rows; default: one for each length, or 3.")] = None,
    seq_len: Annotated[int | None, typer.Option(help="Steps; default: the largest length, or 5.")] = None,
    lengths: Annotated[
        str | None, typer.Option(help="One length a row, for example 5,3,1; default: none are given.")
    ] = None,
    merge: Annotated[
        str | None,
        typer.Option(
            help="concat, sum, mul, ave or weighted (learned), after every layer; none with one direction.",
            show_default="concat",
        ),
    ] = None,
    bias: Annotated[bool, typer.Option("--bias/--no-bias", help="With or without biases.")] = True,
    reset_after: Annotated[
        bool,
        typer.Option("--reset-after/--no-reset-after", help="GRU: reset gate after or before the recurrent product."),
    ] = True,
    with_states: Annotated[
        bool, typer.Option("--with-states", help="Give initial states; else they are zero.")
    ] = False,
    with_cotangents: Annotated[bool, typer.Option("--with-cotangents", help="Ask for gradients.")] = False,
    with_nonfinite_padding: Annotated[
        bool,
        typer.Option("--with-nonfinite-padding", help="NaN, infinity and huge numbers past the lengths, too."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of all numbers in the case.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
) -> None:
    """Write a case: inputs, states and cotangents from N(0, 1), garbage in the padding, PyTorch's initial weights."""
    import numpy as np

    from birnn.display import say_written
    from birnn.options import lengths_from
    from common.case import write_case
    from common.cases.seeded import GARBAGE_SCALE, Shape, make_case
    from common.errors import InputError
    from common.specification import specification_from_json

    content = {
        "cell": cell,
        "input_size": input_size,
        "hidden_size": hidden_size,
        "num_layers": num_layers,
        "bias": bias,
        "merge": merge or ("concat" if directions == 2 else None),
        "reset_after": reset_after,
        "hidden_size_reverse": hidden_size_reverse,
        "num_directions": directions,
    }
    spec = specification_from_json(content, "the options' specification")
    rows = lengths_from(lengths)
    shape = Shape(
        batch if batch is not None else len(rows) if rows else 3,
        seq_len if seq_len is not None else max(1, *rows) if rows else 5,
        rows,
    )
    if file.exists() and not force:
        raise InputError(f"{file} must not exist yet, or --force must be given; it exists")
    case = make_case(
        file.name.removesuffix(".safetensors"),
        spec,
        shape,
        seed=seed,
        with_states=with_states,
        with_cotangents=with_cotangents,
        source=f"birnn case new, seed {seed}",
    )
    if with_nonfinite_padding:
        if not case.padding_mask().any():
            raise InputError(f"--with-nonfinite-padding must come with --lengths of which one is below {case.seq_len}")
        case = case.with_nonfinite_padding(np.random.default_rng(seed), GARBAGE_SCALE)
    write_case(case, file)
    say_written(file, "the case")


@case_app.command("show")
def show(file: Annotated[Path, typer.Argument(metavar="FILE", help="A case file.")]) -> None:
    """Check a case file and print what is in it; smallest and largest are of what is finite."""
    import numpy as np
    from rich.table import Table

    from birnn.display import stdout
    from common.case import read_case

    case = read_case(file)
    console = stdout()
    console.print(f"{case.name}: {case.spec}", markup=False)
    console.print(f"source: {' '.join(case.source.split())}", markup=False)
    console.print(f"expected within atol {case.atol:g}, rtol {case.rtol:g}; sha256 {case.sha256()}")
    if case.lengths is not None:
        console.print(f"lengths: {', '.join(str(length) for length in case.lengths)}")
    wild = ~np.isfinite(case.x)
    if wild.any():
        console.print(f"padding: {wild.sum()} of {case.padding_mask().sum() * case.spec.input_size} are not finite")
    table = Table("tensor", "dtype", "shape", "smallest", "largest")
    for name, value in case.tensors().items():
        finite = value[np.isfinite(value)]
        ends = (f"{finite.min():.4g}", f"{finite.max():.4g}") if finite.size else ("–", "–")
        table.add_row(name, str(value.dtype), str(value.shape), *ends)
    console.print(table)
