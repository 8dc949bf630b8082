"""The small functions of the public API: cases, the reference, and the judgement of one case."""

from __future__ import annotations

from collections.abc import Sequence

from birnn.own_layer import Layer, builtin_cases_of, verify
from common.case import Case
from common.cases.seeded import Shape
from common.cases.seeded import make_case as make
from common.errors import InputError
from common.judging.agreement import Verdict
from common.judging.precision import DTYPES, rounded_case
from common.judging.trial import judge_trial
from common.judging.yardstick import run_reference, truth_dtype, without_gradients, yardstick
from common.reference import Arrays
from common.specification import NUM_DIRECTIONS, Specification


def cases(cells: Sequence[str] | None = None, num_directions: int | None = NUM_DIRECTIONS) -> list[Case]:
    """The built-in cases of some cells (rnn_tanh, rnn_relu, gru, gru_before, lstm), by default of all, and of 2
    directions, of 1, or with None of both.

    Raises
    ------
    InputError
        If a cell, or the number of directions, is none of those.
    """
    return builtin_cases_of(cells, num_directions)


def make_case(
    spec: Specification,
    *,
    batch: int = 3,
    seq_len: int = 5,
    lengths: Sequence[int] | None = None,
    seed: int = 0,
    name: str = "mine",
) -> Case:
    """A case of seeded random inputs, states, cotangents and weights; see ``common.cases.seeded.make_case``.

    Parameters
    ----------
    spec
        The specification.
    batch, seq_len
        Sizes of x, (batch, seq_len, input_size).
    lengths
        Whole numbers from 0 to seq_len, one a row; None: every row is full, and no lengths are given.
    seed
        Of all that is drawn.
    name
        The case's name.

    Raises
    ------
    InputError
        If the lengths do not fit, or the case does not fit into memory.
    """
    shape = Shape(batch, seq_len, None if lengths is None else tuple(int(length) for length in lengths))
    source = f"made by birnn.make_case, seed {seed}"
    return make(name, spec, shape, seed=seed, with_states=True, with_cotangents=True, source=source)


def reference(case: Case, dtype: str = "float64") -> Arrays:
    """The right answer of a case that is rounded to ``dtype``: output, h_n, c_n of an LSTM, and, where the case has
    cotangents, ``grad.*``. float64 for narrow dtypes, longdouble for float64.

    Raises
    ------
    InputError
        If a number of the case does not fit into ``dtype``.
    """
    return run_reference(rounded_case(case, dtype), truth_dtype(dtype))


def judge(case: Case, tensors: Arrays) -> Verdict:
    """Hold the tensors that somebody computed for a case against the reference, in their own dtype.

    Gradients are judged where there are any. The verdict has ``agrees``, ``reasons``, ``where`` it first goes wrong,
    and what it ``matches`` among the known mistakes.

    Raises
    ------
    InputError
        If there is no tensor, or they are not all of one dtype of float16, bfloat16, float32 and float64.
    """
    dtypes = {value.dtype.name for value in tensors.values()}
    if len(dtypes) != 1 or not dtypes <= set(DTYPES):
        got = ", ".join(sorted(dtypes)) or "none"
        raise InputError(f"tensors must be of one dtype of {', '.join(DTYPES)}; got {got}")
    yard = yardstick(case, dtypes.pop())
    if not any(name.startswith("grad.") for name in tensors):
        yard = without_gradients(yard)
    return judge_trial(tensors, yard)


def assert_agrees(
    layer: Layer, case: Case, *, framework: str = "numpy", dtype: str = "float32", gradients: bool | str = "auto"
) -> None:
    """Raise an ``AssertionError`` whose message says what is wrong with a layer on a case, where, how much, and which
    known mistake gives the same numbers; see ``birnn.verify`` for the layer.

    A case that the layer refuses with NotImplementedError is skipped where pytest runs it.

    Raises
    ------
    AssertionError
        If the layer disagrees, raises something, or could not be judged.
    NotImplementedError
        If the layer refuses, and pytest does not run it.
    InputError
        If an argument is wrong.
    """
    verdicts = verify(layer, framework=framework, cases=[case], dtypes=[dtype], gradients=gradients)
    (outcome,) = verdicts.outcomes
    if outcome.declined:
        refuse(outcome.reason)
    if not verdicts.agrees:
        raise AssertionError(str(verdicts))


def refuse(reason: str) -> None:
    """Skip the test that pytest is running; outside of one, raise NotImplementedError."""
    import os
    import sys

    if "PYTEST_CURRENT_TEST" in os.environ and "pytest" in sys.modules:
        import pytest

        pytest.skip(f"the layer does not support it: {reason}")
    raise NotImplementedError(reason)
