"""Every command of ``birnn``, one file each, gathered in one application."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Annotated

import typer

from birnn.cli.backends import backends_command
from birnn.cli.bench import bench_command
from birnn.cli.case import case_app
from birnn.cli.checkpoints.convert import convert_command
from birnn.cli.checkpoints.inspect import inspect_command
from birnn.cli.claims import claims_command
from birnn.cli.compare import compare_command
from birnn.cli.fuzz import fuzz_command
from birnn.cli.models.embed import embed_command
from birnn.cli.models.predict import predict_command
from birnn.cli.models.train import train_command
from birnn.cli.probe import probe_command
from birnn.cli.report import report_command
from birnn.cli.results import results_app
from birnn.cli.run import run_command
from birnn.cli.verify import verify_command

app = typer.Typer(
    help="One bidirectional RNN in PyTorch, JAX/Flax, TensorFlow/Keras and MXNet, held against a float64 reference.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _say_version(wanted: bool) -> None:
    """Print the version and the commit, and end."""
    if not wanted:
        return
    from benchmarks.measure.runs import commit_of_suite, suite_version

    commit = commit_of_suite()
    typer.echo(f"birnn {suite_version()}{f', commit {commit}' if commit else ''}")
    raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and the commit."),
    ] = False,
) -> None:
    # What stands before a command; Typer shows the application's own help.
    pass


app.command("backends")(backends_command)
app.add_typer(case_app, name="case")
app.command("run")(run_command)
app.command("verify")(verify_command)
app.command("fuzz")(fuzz_command)
app.command("probe")(probe_command)
app.command("bench")(bench_command)
app.command("compare")(compare_command)
app.command("report")(report_command)
app.add_typer(results_app, name="results")
app.command("train")(train_command)
app.command("predict")(predict_command)
app.command("embed")(embed_command)
app.command("claims")(claims_command)
app.command("inspect")(inspect_command)
app.command("convert")(convert_command)


@cache
def command() -> Callable[..., int | None]:
    """The application as one command, built once in a process: Typer reads every signature anew each time."""
    return typer.main.get_command(app)
