"""Checkpoints of small models with drawn weights: answers need no training to be checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from common.tasks.building import build_task
from common.tasks.checkpoint import Checkpoint, CheckpointHeader, write_checkpoint
from common.tasks.task import Options

TEXT = "I am very hungry. I am so hungry, and I can eat half a pig. A pig can eat me."
PAIRS = ("pig\tP IH G", "pigs\tP IH G Z", "can\tK AE N", "eat\tIY T", "half\tHH AE F", "hungry\tHH AH NG G R IY")
LABELLED = ("good\ta nice day", "bad\ta grim day", "so-so\ta day")


def write_data(folder: Path) -> dict[str, Path]:
    """A file of data for each task that needs one."""
    tagged = folder / "tagged.conllu"
    block = "".join(
        f"{i}\t{word}\t_\t{tag}\t_\t_\t_\t_\t_\t_\n"
        for i, (word, tag) in enumerate([("the", "DET"), ("dog", "NOUN"), ("runs", "VERB"), (".", "PUNCT")], 1)
    )
    tagged.write_text(f"{block}\n" * 5)
    labelled = folder / "labelled.txt"
    labelled.write_text("\n".join(LABELLED * 3) + "\n")
    plain = folder / "plain.txt"
    plain.write_text(f"{TEXT}\n\n" * 3)
    pairs = folder / "pairs.tsv"
    pairs.write_text("\n".join(PAIRS * 3) + "\n")
    return {"tagger": tagged, "classifier": labelled, "masked": plain, "seq2seq": pairs}


def write_drawn(task: str, folder: Path, scale: float = 1.0, **options: Any) -> Path:
    """A checkpoint of a task whose weights are drawn, times ``scale``, and not trained; the data lies beside it."""
    data = write_data(folder)
    sizes: dict[str, Any] = {} if task == "pipeline" else {"hidden_size": 6, "embedding_size": 5}
    built = build_task(task, Options(data=(data[task],) if task in data else (), **(sizes | options)))
    header = CheckpointHeader(
        version=2, task=task, model=built.spec.model_dump(mode="json"), vocabularies=built.vocabularies,
        fingerprint="", implementation="numpy/loop", dtype="float64", versions={}, epoch=1,
        trace=[(1.0, 0.5, 1.0)], accuracies=[0.5],
    )  # fmt: skip
    weights = {name: scale * np.asarray(value) for name, value in built.weights.items()}
    path = folder / f"{task}.safetensors"
    write_checkpoint(Checkpoint(header, built.spec, weights, {}), path)
    return path
