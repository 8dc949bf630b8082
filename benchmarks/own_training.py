"""Train every model on its real data in all four frameworks, and put what came of it into the README.

    python -m benchmarks.own_training --conllu-training DEV.conllu --conllu-held-out TEST.conllu

runs one ``birnn train`` after the other and writes what each prints into the README, between the markers ``traces``;
the pictures go to docs/traces/.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from backends.environments import ROOT
from benchmarks import machine
from benchmarks.readme import replaced
from benchmarks.running import commit_of_suite
from common.models.pipeline_data import OneDirectionTrainer, OtherDirectionTrainer, held_out_accuracy
from common.models.trace import Trainer
from common.tensorfile import write_bytes

README = ROOT / "README.md"
PICTURES = ROOT / "docs" / "traces"


def commands(training: Path, held_out: Path) -> dict[str, list[str]]:
    """The command of each system, by the name of its picture; those with files twice name them for the reader."""
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
        held_out_accuracy("rnn_tanh", kind) for kind in (Trainer, OneDirectionTrainer, OtherDirectionTrainer)
    )
    return (
        f"What one direction is worth: the same network (rnn_tanh, by the NumPy reference) gets {both:.4f} of the "
        f"held-out answers right after the same five epochs, {forward:.4f} when its head hears the forward direction "
        f"alone and {reverse:.4f} with the reverse alone."
    )


def main(
    conllu_training: Annotated[Path, typer.Option(help="CoNLL-U file to train the tagger and the masked model on.")],
    conllu_held_out: Annotated[Path, typer.Option(help="CoNLL-U file to judge them by.")],
    only: Annotated[list[str], typer.Option(help="Only these, by the names of their pictures; repeatable.")] = [],  # noqa: B006
) -> None:
    """Train, and write the README's traces."""
    blocks = []
    for name, arguments in commands(conllu_training, conllu_held_out).items():
        if only and name not in only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "birnn", *arguments, "--out", folder]
            done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)
            if done.returncode not in (0, 1):
                raise SystemExit(f"birnn {' '.join(arguments)} must run; got {done.returncode}: {done.stderr[-2000:]}")
            picture = Path(folder) / "curves.svg"
            write_bytes(PICTURES / f"{name}.svg", picture.read_bytes())
        shown = " ".join("DEV.conllu" if each == str(conllu_training) else each for each in arguments)
        shown = shown.replace(str(conllu_held_out), "TEST.conllu")
        blocks.append(f"`birnn {shown}` ([curves](docs/traces/{name}.svg)):\n\n```text\n{done.stdout.strip()}\n```")
        if name == "pipeline-rnn":
            blocks.append(one_direction())
        print(done.stdout, flush=True)
    found = machine.fingerprint()
    day = datetime.now(UTC).date().isoformat()
    blocks.append(
        f"Measured by `python -m benchmarks.own_training` on {found['usable_cores']} cores of {found['processor']}, "
        f"commit {commit_of_suite()}, {day}. DEV and TEST are UD_English-EWT's dev and test files."
    )
    write_bytes(README, replaced(README, {"traces": "\n\n".join(blocks)}).encode())


if __name__ == "__main__":
    typer.run(main)
