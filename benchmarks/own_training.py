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
from common.tensorfile import write_bytes

README = ROOT / "README.md"
PICTURES = ROOT / "docs" / "traces"


def commands(training: Path, held_out: Path) -> dict[str, list[str]]:
    """The command of each system, by the name of its picture; those with files twice name them for the reader."""
    files = ["--data", str(training), "--data", str(held_out)]
    return {
        "pipeline-float64": ["train", "pipeline", "--dtype", "float64"],
        "pipeline": ["train", "pipeline", "--cell", "rnn_tanh"],
        "tagger": ["train", "tagger", *files],
        "classifier": ["train", "classifier"],
        "seq2seq": ["train", "seq2seq", "--limit", "6000"],
        "masked": ["train", "masked", *files],
    }


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
