"""Train every model on its real data in all four frameworks, and put what came of it into docs/models.md.

    python -m benchmarks.maintain.own_training --conllu-training DEV.conllu --conllu-held-out TEST.conllu \\
        --entities-training DEV.conll --entities-held-out TEST.conll

runs one ``birnn train`` after the other, each a second time with one direction in one framework, and writes a table
into docs/models.md, between the markers ``traces``; what each prints goes to docs/traces.md, the pictures to
docs/traces/, after each training. Interrupted, the same command goes on. With names (``own_training
language-one-direction``) it trains these alone, and leaves what the pages say of the others.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from backends.pool.environments import ROOT
from backends.registry import BUILT_IN
from benchmarks.machine import description
from benchmarks.maintain.marked_pages import replaced
from benchmarks.measure.runs import commit_of_suite
from common.models.pipeline_data import OneDirectionTrainer, OtherDirectionTrainer, held_out_accuracy
from common.models.trace import ReferenceTrainer
from common.tensorfile import write_bytes

MODELS = ROOT / "docs" / "models.md"
"""The page on models."""
TRACES = ROOT / "docs" / "traces.md"
"""The page on traces."""
PICTURES = ROOT / "docs" / "traces"
"""The folder of the pictures of traces."""
STOPPED = ("--epochs", "30", "--schedule", "cosine", "--warm-up", "0.1", "--patience", "3")
"""A schedule, and when to stop before its end."""
FLIPPED = "flipped"
"""Is in the twin's name."""
ONE_DIRECTION_BY = "torch/manual"
"""What trains with one direction; that all frameworks learn alike the rows of both say."""


BUILT_IN_NAMES = tuple(backend.name for backend in BUILT_IN)
"""The four frameworks."""
WORTH = "What one direction is worth:"
"""How the sentence on one direction begins."""
MEASURED = (
    "Measured by `python -m benchmarks.maintain.own_training`, each at the commit and on the day that stand with "
    "it, by the recipes of that commit ([recipes.md](recipes.md)). DEV.conllu and TEST.conllu are UD_English- "
    "EWT's dev and test files, DEV.conll and TEST.conll WNUT 2017's. One direction: the same command with "
    "`--directions 1`, by torch/manual. Seconds are of processor time, in the order of the frameworks: all steps "
    "with what had to be compiled for them, without evaluation; the machine had other work beside them."
)
"""What both pages say of their numbers."""


def commands(treebank: Sequence[Path | None] = (), entities: Sequence[Path | None] = ()) -> dict[str, list[str]]:
    """The command of each system, by the name of its picture; the files are those for training and for judging."""
    files, columns = (
        [part for path in paths if path is not None for part in ("--data", str(path))] for paths in (treebank, entities)
    )
    columns += ["--scheme", "iob1"]  # WNUT 2017's test file has a stray I-, which iob1 reads as conlleval does
    return {
        "pipeline-float64": ["train", "pipeline", "--dtype", "float64"],
        "pipeline-rnn": ["train", "pipeline", "--cell", "rnn_tanh"],
        "pipeline-stopped": ["train", "pipeline", *STOPPED],
        "tagger": ["train", "tagger", *files],
        "tagger-crf": ["train", "tagger", "--head", "crf", *files],
        "entities": ["train", "tagger", *columns],
        "entities-crf": ["train", "tagger", "--head", "crf", *columns],
        "classifier": ["train", "classifier"],
        "classifier-genres": ["train", "classifier", *files],
        "seq2seq": ["train", "seq2seq", "--limit", "6000"],
        "seq2seq-decoder-dropout": ["train", "seq2seq", "--limit", "6000", "--decoder-dropout", "0.2"],
        "seq2seq-without-attention": ["train", "seq2seq", "--limit", "6000", "--no-attention"],
        "seq2seq-bidirectional-decoder": ["train", "seq2seq", "--limit", "6000", "--decoder", "bidirectional"],
        "masked": ["train", "masked", *files],
        "language-one-direction": ["train", "language", "--directions", "1"],
        "language-two-directions": ["train", "language", "--directions", "2"],
        "language-characters": ["train", "language", "--units", "characters", "--directions", "1"],
    }


def one_direction() -> str:
    """What the pipeline's network learns when its head hears one direction alone, in a sentence."""
    both, forward, reverse = (
        held_out_accuracy("rnn_tanh", kind) for kind in (ReferenceTrainer, OneDirectionTrainer, OtherDirectionTrainer)
    )
    return (
        f"{WORTH} the same network (rnn_tanh, by the NumPy reference) gets {both:.4f} of the "
        f"held-out answers right after five epochs, {forward:.4f} when its head hears the forward direction "
        f"alone and {reverse:.4f} with the reverse alone."
    )


def row(name: str, command: str, trace: dict, one: dict | None, measured: str) -> str:
    """A system's row in the table: its held-out accuracy in every framework and with one direction, of a language model
    with its perplexity and of entities with their F1, beside the baseline's; the time; and where traces part.
    """
    trainings = trace["implementations"]
    frameworks = [each for each in trainings if FLIPPED not in each]
    partings = [trainings[each]["parting"] for each in frameworks if trainings[each]["parting"]]
    verdict = ", ".join(dict.fromkeys(parting["verdict"] for parting in partings))
    cells = [
        told(trace["baseline"]["accuracy"], trace["baseline"].get("perplexity"), trace["baseline"].get("entity_f1")),
        "–" if one is None else of_last(next(iter(one["implementations"].values()))),
    ]
    cells += [of_last(trainings[each]) for each in frameworks]
    seconds = (trainings[each].get("cpu_seconds") for each in frameworks)
    cells += [" / ".join("–" if each is None else f"{each:.0f}" for each in seconds)]
    cells += [str(len(trainings[frameworks[0]]["steps"])), f"{max(each['largest'] for each in partings):.1e}", verdict]
    return f"| [`{command}`](traces/{name}.svg) | {' | '.join(cells)} | {measured} |"


def of_last(training: dict) -> str:
    """What a training's last epoch came to, or, where it was stopped, the one that is kept."""
    kept = training.get("best_epoch", 0) - 1
    further = (training.get(name) for name in ("perplexities", "entity_f1"))
    return told(training["accuracies"][kept], *(values[kept] if values else None for values in further))


def told(accuracy: float, perplexity: float | None = None, entity_f1: float | None = None) -> str:
    """An accuracy, with a perplexity or the F1 of entities behind it where there is one."""
    if entity_f1 is not None:
        return f"{accuracy:.4f} (F1 {entity_f1:.4f})"
    return f"{accuracy:.4f}" if perplexity is None else f"{accuracy:.4f} ({perplexity:.2f})"


def table(rows: dict[str, str], page: str) -> str:
    """The table of all systems: the new ``rows`` by their names, and those that the page has of the others."""
    frameworks = " | ".join(f"{each}/manual" for each in BUILT_IN_NAMES)
    before = {name: line for line in page.splitlines() for name in commands() if f"(traces/{name}.svg)" in line}
    lines = [
        f"| `birnn …` | trivial baseline | one direction | {frameworks} | seconds of each | steps "
        "| largest gap in the loss | verdict | measured |",
        f"|---|---:|---:|{'---:|' * len(BUILT_IN_NAMES)}---:|---:|---:|---|---|",
    ]
    return "\n".join([*lines, *((before | rows)[name] for name in commands() if name in before | rows)])


def summary(row_of_system: str) -> str:
    """A system's row but for its command and what it was measured with, under a heading of its own."""
    heads, rule, *_ = table({}, "").splitlines()
    cells = [[each.strip() for each in line.strip("|").split("|")][1:-1] for line in (heads, rule, row_of_system)]
    return "\n".join(f"| {' | '.join(each)} |" for each in cells)


def sections(new: dict[str, str], page: str) -> str:
    """The sections of all systems, each under a heading of its command, the ``new`` ones for those of the page."""
    before = {}
    for section in page.split("\n## ")[1:]:
        for name in commands():
            if f"(traces/{name}.svg)" in section:
                before[name] = f"## {section.strip()}"
    every = before | new
    return "\n\n".join(every[name] for name in commands() if name in every)


def trained(name: str, arguments: list[str], folder: Path) -> tuple[str, dict]:
    """Train a system; what it printed, and its trace. Its picture goes to the docs."""
    printed = run(arguments, folder)
    print(printed, flush=True)
    write_bytes(PICTURES / f"{name}.svg", (folder / "curves.svg").read_bytes())
    return "\n".join(line.rstrip() for line in printed.strip().splitlines()), read_trace(folder)


def with_one_direction(arguments: list[str], folder: Path) -> dict | None:
    """The trace of a system with one direction, by one implementation; None of what has but one as it is."""
    if "--directions" in arguments and arguments[arguments.index("--directions") + 1] == "1":
        return None
    rest = [each for each in arguments if each not in ("--directions", "2")]
    run([*rest, "--directions", "1", "-i", ONE_DIRECTION_BY], folder)
    return read_trace(folder)


def run(arguments: list[str], folder: Path) -> str:
    """What ``birnn`` with these arguments and a folder prints."""
    command = [sys.executable, "-m", "birnn", *arguments, "--out", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"COLUMNS": "120"}, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(f"birnn {' '.join(arguments)} must run; got {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def read_trace(folder: Path) -> dict:
    """The trace that a training left in its folder."""
    return json.loads((folder / "trace.json").read_text())


def write_pages(rows: dict[str, str], blocks: dict[str, str]) -> None:
    """Put rows and sections in place of those of the same names; the rest of both pages stays."""
    page = MODELS.read_text()
    (worth,) = [line for line in page.splitlines() if line.startswith(WORTH)] or [""]
    if not worth or "pipeline-rnn" in rows:
        worth = one_direction()
    text = "\n\n".join([table(rows, page), worth, MEASURED])
    write_bytes(MODELS, replaced(MODELS, {"traces": text}).encode())
    title = "# Every model's training in four frameworks, as `birnn train` prints it"
    write_bytes(TRACES, ("\n\n".join([title, MEASURED, sections(blocks, TRACES.read_text())]) + "\n").encode())


def main(
    names: Annotated[
        list[str], typer.Argument(metavar="[NAME]...", help="Train these alone; what the pages say of others stays.")
    ] = [],  # noqa: B006
    conllu_training: Annotated[
        Path | None, typer.Option(help="CoNLL-U file to train the tagger and the masked model on.")
    ] = None,
    conllu_held_out: Annotated[Path | None, typer.Option(help="CoNLL-U file to judge them by.")] = None,
    entities_training: Annotated[
        Path | None, typer.Option(help="Column file to train the tagger of entities on.")
    ] = None,
    entities_held_out: Annotated[Path | None, typer.Option(help="Column file to judge it by.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the checkpoints; goes on with the same source's.")] = Path(
        "out/training"
    ),
) -> None:
    """Train, and write the table of docs/models.md and docs/traces.md."""
    every = commands((conllu_training, conllu_held_out), (entities_training, entities_held_out))
    for name in names:
        if name not in every:
            raise SystemExit(f"NAME must be one of {', '.join(every)}; got {name!r}")
    files = {str(conllu_training): "DEV.conllu", str(conllu_held_out): "TEST.conllu"}
    files |= {str(entities_training): "DEV.conll", str(entities_held_out): "TEST.conll"}
    machine, day = description.fingerprint(), datetime.now(UTC).date().isoformat()
    commit = commit_of_suite()
    for name, arguments in every.items():
        if names and name not in names:
            continue
        printed, trace = trained(name, arguments, out / name)
        one = with_one_direction(arguments, out / f"{name}-with-one-direction")
        shown = " ".join(files.get(each, each) for each in arguments)
        new_row = row(name, shown, trace, one, f"{commit}, {day}")
        measured = f"On {description.cores_told(machine)}, commit {commit}, {day}."
        heading = f"## `birnn {shown}`\n\n![curves](traces/{name}.svg)"
        block = f"{heading}\n\n{summary(new_row)}\n\n{measured}\n\n```text\n{printed}\n```"
        write_pages({name: new_row}, {name: block})


if __name__ == "__main__":
    typer.run(main)
