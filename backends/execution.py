"""Run one case in one implementation, inside the framework's environment: set up, compute, wait, extract."""

from __future__ import annotations

import platform
import time
from importlib.metadata import distributions

import numpy as np

from backends.base import Framework, inputs_of, request_of
from common.case import Case
from common.precision import rounded_case
from common.result import Result, ResultHeader


class Unsupported(Exception):
    """The implementation has declared that it cannot do this; the text is the reason."""


def all_versions(framework: Framework) -> dict[str, str]:
    """The versions of the interpreter, NumPy, and what the framework names."""
    return {"python": platform.python_version(), "numpy": np.__version__, **framework.versions()}


def all_packages() -> dict[str, str]:
    """Every installed distribution of this environment with its version, without local build tags."""
    found = {each.metadata["Name"]: each.version.split("+")[0] for each in distributions()}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def execute(framework: Framework, case: Case, implementation: str, dtype: str, device: str) -> Result:
    """Run ``case``, rounded to ``dtype``, in ``framework/implementation``.

    Raises
    ------
    Unsupported
        If the implementation declares that it cannot; whatever the framework raises comes through as it is.
    """
    reason = framework.unsupported(implementation, request_of(case, dtype, device))
    if reason is not None:
        raise Unsupported(reason)
    case = rounded_case(case, dtype)
    run = framework.implementations[implementation](case.spec, dtype, device)
    run.load_weights(case.weights)
    run.move_inputs(inputs_of(case))
    started = time.perf_counter()
    if case.cotangents:
        run.forward_backward()
    else:
        run.forward()
    run.synchronise()
    seconds = time.perf_counter() - started
    header = ResultHeader(
        case=case.name,
        case_sha256=case.sha256(),
        implementation=f"{framework.name}/{implementation}",
        dtype=dtype,
        device=device,
        versions=all_versions(framework),
        path=run.path(),
        seconds=seconds,
    )
    return Result(header, run.extract())
