"""Checkpoints inside a worker: loaded by the framework's own loader, run on cases, results written."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from backends.interface.checkpoint import AskedLayer, LoadedCheckpoint
from backends.interface.framework import Framework
from backends.interface.layer import Arrays, inputs_of
from backends.worker.execution import all_versions
from backends.worker.messages import AskedRecurrent, LoadedLayers, RunCheckpoint
from common.case import read_case
from common.checkpoints.contents import kind_of
from common.judging.precision import rounded_case
from common.tensorfile import as_bytes, write_bytes


def run_checkpoint(framework: Framework, request: RunCheckpoint) -> LoadedLayers:
    """Load a checkpoint and give what its layers answer; one that does not load raises."""
    loaded = framework.checkpoint(request.file, request.format, request.config)
    return LoadedLayers(
        layers={each.name: _written(partial(_run, loaded, each), each.result) for each in request.layers},
        plain={each.name: _written(partial(loaded.plain, each.name, each.kind), each.result) for each in request.plain},
        versions=all_versions(framework),
    )


def _written(compute: Callable[[], Arrays], result: Path) -> str:
    """Write what is computed; why it could not be, or nothing."""
    try:
        arrays = {name: np.asarray(value, order="C") for name, value in compute().items()}
    except Exception as error:
        traceback.print_exc()
        return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"[:300]
    write_bytes(result, as_bytes(arrays, {}), durable=False)
    return ""


def _run(loaded: LoadedCheckpoint, each: AskedRecurrent) -> Arrays:
    """The results of one layer of a checkpoint on a case."""
    case = rounded_case(read_case(each.case), each.dtype)
    return loaded.run(AskedLayer(each.name, kind_of(each.spec), each.parts), each.dtype, inputs_of(case))
