"""Train every model on its real data in all four frameworks, and put what came of it into docs/models.md.

    python -m benchmarks.maintain.own_training --conllu-training DEV.conllu --conllu-held-out TEST.conllu

runs one ``birnn train`` after the other and writes a table into docs/models.md, between the markers ``traces``; what
each prints goes to docs/traces.md, the pictures to docs/traces/. Interrupted, the same command goes on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from backends.pool.environments import ROOT
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
FLIPPED = "flipped"
"""Is in the twin's name."""


def commands(training: Path, held_out: Path) -> dict[str, list[str]]:
    """The command of each system, by the name of its picture."""
    files = ["--data", str(training), "--data", str(held_out)]
    return {
        "pipeline-float64": ["train", "pipeline", "--dtype", "float64"],
        "pipeline-rnn": ["train", "pipeline", "--cell", "rnn_tanh"],
        "tagger": ["train", "tagger", *files],
        "classifier": ["train", "classifier"],
        "seq2seq": ["train", "seq2seq", "--limit", "6000"],
        "seq2seq-without-attention": ["train", "seq2seq", "--limit", "6000", "--no-attention"],
        "seq2seq-bidirectional-decoder": ["train", "seq2seq", "--limit", "6000", "--decoder", "bidirectional"],
        "masked": ["train", "masked", *files],
    }


def one_direction() -> str:
    """What the pipeline's network learns when its head hears one direction alone, in a sentence."""
    both, forward, reverse = (
        held_out_accuracy("rnn_tanh", kind) for kind in (ReferenceTrainer, OneDirectionTrainer, OtherDirectionTrainer)
    )
    return (
        f"What one direction is worth: the same network (rnn_tanh, by the NumPy reference) gets {both:.4f} of the "
        f"held-out answers right after the same five epochs, {forward:.4f} when its head hears the forward direction "
        f"alone and {reverse:.4f} with the reverse alone."
    )


def summary(traces: dict[str, dict], shown: dict[str, str]) -> str:
    """A table: each system's held-out accuracy in every framework, beside the baseline's, and where traces part."""
    frameworks = [name for name in next(iter(traces.values()))["implementations"] if FLIPPED not in name]
    lines = [
        f"| `birnn …` | trivial baseline | {' | '.join(frameworks)} | steps | largest gap in the loss | verdict |",
        f"|---|---:|{'---:|' * len(frameworks)}---:|---:|---|",
    ]
    for name, trace in traces.items():
        trainings = trace["implementations"]
        partings = [trainings[each]["parting"] for each in frameworks if trainings[each]["parting"]]
        verdict = ", ".join(dict.fromkeys(parting["verdict"] for parting in partings))
        lines.append(
            f"| [`{shown[name]}`](traces/{name}.svg) | {trace['baseline']['accuracy']:.4f} | "
            + " | ".join(f"{trainings[each]['accuracies'][-1]:.4f}" for each in frameworks)
            + f" | {len(trainings[frameworks[0]]['steps'])} | {max(parting['largest'] for parting in partings):.1e} | "
            + f"{verdict} |"
        )
    return "\n".join(lines)


def main(
    conllu_training: Annotated[Path, typer.Option(help="CoNLL-U file to train the tagger and the masked model on.")],
    conllu_held_out: Annotated[Path, typer.Option(help="CoNLL-U file to judge them by.")],
    out: Annotated[Path, typer.Option(help="Folder of the checkpoints; goes on with the same source's.")] = Path(
        "out/training"
    ),
) -> None:
    """Train, and write the table of docs/models.md and docs/traces.md."""
    traces, shown, blocks = {}, {}, []
    for name, arguments in commands(conllu_training, conllu_held_out).items():
        folder = out / name
        command = [sys.executable, "-m", "birnn", *arguments, "--out", str(folder)]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | {"COLUMNS": "120"}, capture_output=True, text=True)
        if done.returncode not in (0, 1):
            raise SystemExit(f"birnn {' '.join(arguments)} must run; got {done.returncode}: {done.stderr[-2000:]}")
        print(done.stdout, flush=True)
        write_bytes(PICTURES / f"{name}.svg", (folder / "curves.svg").read_bytes())
        traces[name] = json.loads((folder / "trace.json").read_text())
        files = {str(conllu_training): "DEV.conllu", str(conllu_held_out): "TEST.conllu"}
        shown[name] = " ".join(files.get(each, each) for each in arguments)
        printed = "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())
        blocks.append(f"## `birnn {shown[name]}`\n\n![curves](traces/{name}.svg)\n\n```text\n{printed}\n```")
    machine = description.fingerprint()
    day = datetime.now(UTC).date().isoformat()
    measured = (
        f"Measured by `python -m benchmarks.maintain.own_training` on {machine['usable_cores']} cores "
        f"of {machine['processor']}, commit {commit_of_suite()}, {day}. DEV and TEST are UD_English-EWT's dev and test "
        "files."
    )
    text = "\n\n".join([summary(traces, shown), one_direction(), measured])
    write_bytes(MODELS, replaced(MODELS, {"traces": text}).encode())
    title = "# Every model's training in four frameworks, as `birnn train` prints it"
    write_bytes(TRACES, ("\n\n".join([title, measured, *blocks]) + "\n").encode())


if __name__ == "__main__":
    typer.run(main)
