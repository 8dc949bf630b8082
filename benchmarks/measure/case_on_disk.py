"""What a worker is given to open a benchmark case: files, and the request that names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from backends.worker.messages import OpenLayer, OpenSystem, OpenWork
from benchmarks.measure.judging import Judge, SystemJudge
from benchmarks.measure.settings import Job
from common.case import write_case
from common.cases.seeded import GARBAGE_SCALE
from common.models.optimizers import OptimizerSettings
from common.models.specification import Arrays
from common.tensorfile import as_bytes, write_bytes

OPTIMIZER = OptimizerSettings(name="adam", learning_rate=1e-5, epsilon=1e-6, clip_norm=5.0)
"""A system's. The rate is small, so that thousands of steps on one batch all do the same work: at a usual one the batch
is soon known by heart, and its gradients vanish. The usual epsilon, 1e-8, is 0 in float16, and 0/0 in JAX.
"""


def opening(
    judge: Judge | SystemJudge,
    job: Job,
    implementation: str,
    handle: str,
    folder: Path,
    *,
    result: Path | None = None,
    other_padding: bool = False,
) -> OpenWork:
    """The request to open a job's case in an implementation of a framework; files that are not in ``folder`` yet are
    written.

    Parameters
    ----------
    implementation, handle
        Its name in the framework, and that of what is opened.
    result
        The file for the first call's results where they will be judged.
    other_padding
        Whether what lies past the lengths of a layer's inputs is replaced by other garbage.
    """
    fields: dict[str, Any] = {
        "handle": handle,
        "implementation": implementation,
        "work": job.passed,
        "dtype": job.dtype,
        "device": job.device,
        "lane": job.lane,
        "result": result,
    }
    if isinstance(judge, SystemJudge):
        made = judge.made
        arrays = {"weights": made.weights, "batch": dict(made.batch)}
        fields |= {name: _file(folder / f"{made.name}-{name}.safetensors", value) for name, value in arrays.items()}
        return OpenSystem(**fields, system=made.spec, optimizer=OPTIMIZER)
    if job.passed == "train_step":
        fields |= {"training": _training_file(judge, folder), "learning_rate": judge.training.learning_rate}
        fields |= {"telling_rate": None if result is None else judge.telling_rate()}
    return OpenLayer(**fields, case=_case_file(judge, folder, other_padding))


def _case_file(judge: Judge, folder: Path, other_padding: bool) -> Path:
    """The file of the layer's case, written where it is not there yet."""
    path = folder / f"{judge.case.name}{'-padding' * other_padding}.safetensors"
    if not path.exists():
        made = judge.made
        write_case(
            made.with_padding(np.random.default_rng(1), GARBAGE_SCALE) if other_padding else made, path, durable=False
        )
    return path


def _training_file(judge: Judge, folder: Path) -> Path:
    """The file of the head and the labels, written where it is not there yet."""
    training = judge.training
    arrays = {"weight": training.weight, "bias": training.bias, "labels": training.labels}
    return _file(folder / f"{judge.case.name}-training.safetensors", arrays)


def _file(path: Path, arrays: Arrays) -> Path:
    """The file, with the arrays written into it where it is not there yet."""
    if not path.exists():
        write_bytes(path, as_bytes(arrays, {}), durable=False)
    return path
