"""What a worker is given to open a benchmark case: files, and the part of the request that names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure.judging import Judge, SystemJudge
from common.case import write_case
from common.cases.seeded import GARBAGE_SCALE
from common.models.optimizers import OptimizerSettings
from common.models.specification import Arrays, model_as_json
from common.tensorfile import as_bytes, write_bytes

OPTIMIZER = OptimizerSettings(name="adam", learning_rate=1e-5, epsilon=1e-6, clip_norm=5.0)
"""A system's. The rate is small, so that thousands of steps on one batch all do the same work: at a usual one the batch
is soon known by heart, and its gradients vanish. The usual epsilon, 1e-8, is 0 in float16, and 0/0 in JAX.
"""


def opening(
    judge: Judge | SystemJudge, passed: str, folder: Path, judged: bool, other_padding: bool = False
) -> dict[str, Any]:
    """What ``backends.worker.timing.Timing.open`` is to read of a case; files that are not in ``folder`` yet are
    written.

    ``judged`` says whether the first call will be; ``other_padding`` replaces what lies past the lengths of a layer's
    inputs by other garbage.
    """
    if isinstance(judge, SystemJudge):
        return _of_system(judge, folder)
    request: dict[str, Any] = {"case": str(_case_file(judge, folder, other_padding))}
    if passed == "train_step":
        request |= {"training": str(_training_file(judge, folder)), "learning_rate": judge.training.learning_rate}
        request |= {"telling_rate": judge.telling_rate()} if judged else {}
    return request


def _of_system(judge: SystemJudge, folder: Path) -> dict[str, Any]:
    made = judge.made
    arrays = {"weights": made.weights, "batch": dict(made.batch)}
    files = {name: str(_file(folder / f"{made.name}-{name}.safetensors", value)) for name, value in arrays.items()}
    return {"system": model_as_json(made.spec), "optimizer": OPTIMIZER.model_dump(mode="json"), **files}


def _case_file(judge: Judge, folder: Path, other_padding: bool) -> Path:
    path = folder / f"{judge.case.name}{'-padding' * other_padding}.safetensors"
    if not path.exists():
        made = judge.made
        write_case(
            made.with_padding(np.random.default_rng(1), GARBAGE_SCALE) if other_padding else made, path, durable=False
        )
    return path


def _training_file(judge: Judge, folder: Path) -> Path:
    training = judge.training
    arrays = {"weight": training.weight, "bias": training.bias, "labels": training.labels}
    return _file(folder / f"{judge.case.name}-training.safetensors", arrays)


def _file(path: Path, arrays: Arrays) -> Path:
    if not path.exists():
        write_bytes(path, as_bytes(arrays, {}), durable=False)
    return path
