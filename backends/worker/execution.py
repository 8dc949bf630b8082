"""Run one case in one implementation, inside the framework's environment: set up, compute, wait, extract."""

from __future__ import annotations

import platform
import time
from importlib.metadata import distributions

import numpy as np

from backends.interface.framework import Framework
from backends.interface.gaps import Refusal, request_of
from backends.interface.layer import Arrays, Implementation, inputs_of
from common.case import Case
from common.judging.precision import rounded_case
from common.result import Result, ResultHeader


class Unsupported(Exception):
    """The implementation has declared that it does not do this; the text is the reason."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


def all_versions(framework: Framework) -> dict[str, str]:
    """The versions of the interpreter, NumPy, and what the framework names."""
    return {"python": platform.python_version(), "numpy": np.__version__, **framework.versions()}


def all_packages() -> dict[str, str]:
    """Every installed distribution of this environment with its version, without local build tags."""
    packages = {each.metadata["Name"]: each.version.split("+")[0] for each in distributions()}
    return dict(sorted(packages.items(), key=lambda item: item[0].lower()))


def execute(framework: Framework, case: Case, implementation: str, dtype: str, device: str) -> Result:
    """Run ``case``, rounded to ``dtype``, in ``framework/implementation``.

    Raises
    ------
    Unsupported
        If the implementation declares that it cannot; whatever the framework raises comes through as it is.
    """
    return _run(framework, case, implementation, dtype, device)[1]


def execute_again(
    framework: Framework, case: Case, implementation: str, dtype: str, device: str, forward: bool
) -> tuple[Result, dict[str, Arrays]]:
    """Run a case as ``execute`` does, and then once more on the same object: a state that it keeps would show, and
    gradients that add up.

    The second part has what the others gave where they are not equal to the last bit: ``again``, the second call, and
    ``forward``, a forward pass alone, which is another program where gradients are wanted, and often another kernel.
    It follows where ``forward`` is true, and always where the framework compiles no program for it.
    """
    run, first = _run(framework, case, implementation, dtype, device)
    kept = {name: np.array(value) for name, value in first.tensors.items()}  # the next call may write where it lies
    passes = {"again": bool(case.cotangents)}
    if case.cotangents and (forward or not framework.compiles):
        passes["forward"] = False
    others = {}
    for name, gradients in passes.items():
        _compute(run, gradients)
        others[name] = run.extract()
    outputs = {name: value for name, value in kept.items() if not name.startswith("grad.")}
    wanted = {"again": kept, "forward": outputs}
    different = {name: tensors for name, tensors in others.items() if not _same(tensors, wanted[name])}
    return Result(first.header, kept), different


def _run(
    framework: Framework, case: Case, implementation: str, dtype: str, device: str
) -> tuple[Implementation, Result]:
    """The implementation after one pass over a case, and what it computed; ``Unsupported`` where it declines."""
    refusal = framework.refusal(implementation, request_of(case, dtype, device))
    if refusal is not None:
        raise Unsupported(refusal)
    case = rounded_case(case, dtype)
    run = framework.implementations[implementation](case.spec, dtype, device)
    run.reuse_programs()
    run.load_weights(case.weights)
    run.move_inputs(inputs_of(case))
    started = time.perf_counter()
    _compute(run, bool(case.cotangents))
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
    return run, Result(header, run.extract())


def _compute(run: Implementation, gradients: bool) -> None:
    """One pass, and the wait for it."""
    if gradients:
        run.forward_backward()
    else:
        run.forward()
    run.synchronise()


def _same(second: Arrays, first: Arrays) -> bool:
    """Whether two results have the same tensors, equal to the last bit."""
    return second.keys() == first.keys() and all(
        np.array_equal(value, first[name], equal_nan=True) for name, value in second.items()
    )
