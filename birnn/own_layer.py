"""Hold a hand-written layer against the float64 reference, in the process that it is written in."""

from __future__ import annotations

import io
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from backends.interface.gaps import DEVICES
from backends.interface.layer import inputs_of
from backends.studies.study import FAILED, Outcome
from backends.worker.execution import Unsupported
from backends.worker.own_layer import Layer, OwnLayer, implementation_of
from birnn import exit_codes
from birnn.commands.outcomes import code_of, print_outcomes, summed_up
from birnn.display import console_into
from birnn.options import one_of
from common.case import Case
from common.cases.builtin import CELLS, builtin_cases
from common.errors import InputError, shown
from common.judging.agreement import AGREES, NOT_JUDGED, Verdict
from common.judging.precision import DTYPES, rounded_case
from common.judging.trial import judge_trial, other_paddings
from common.judging.yardstick import without_gradients, yardstick
from common.reference import Arrays
from common.specification import NUM_DIRECTIONS, Specification

AUTO = "auto"
"""The value of ``gradients`` that means: wherever the layer's arrays can be differentiated."""
LINES_OF_TRACEBACK = 6
"""Lines of a layer's traceback that are shown."""


@dataclass(frozen=True)
class Verification:
    """What became of a layer.

    ``outcomes`` has one for each case and dtype; ``gradients`` whether gradients were judged; ``seconds`` is wall time.
    Printed, it is a short table with a line for every failure.
    """

    layer: str
    framework: str
    gradients: bool
    outcomes: Sequence[Outcome]
    seconds: float = 0.0

    @property
    def failures(self) -> list[Outcome]:
        """What disagrees or raised something; each has a ``verdict`` or a ``reason``."""
        return [outcome for outcome in self.outcomes if outcome.wrong]

    @property
    def exit_code(self) -> int:
        """``birnn verify``'s code: 0, 1 for a failure, 3 where nothing, or not everything, could be checked."""
        return code_of(self.outcomes, broken=False)

    @property
    def agrees(self) -> bool:
        """Whether something was checked, and all of it agrees; what the layer refused is no failure."""
        return self.exit_code == exit_codes.AGREED

    def as_json(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        return {
            "layer": self.layer,
            "framework": self.framework,
            "agrees": self.agrees,
            "gradients": self.gradients,
            "seconds": self.seconds,
            "outcomes": [outcome.as_json() for outcome in self.outcomes],
        }

    def __str__(self) -> str:
        text = io.StringIO()
        console = console_into(text)
        print_outcomes(console, self.outcomes, judged=True)
        what = "outputs, states and gradients" if self.gradients else "outputs and states; no gradient was judged"
        unchecked = all(outcome.declined or outcome.status == NOT_JUDGED for outcome in self.outcomes)
        checked = " Nothing was checked." if unchecked else ""
        told = f"{summed_up(self.outcomes)}: {what}; {self.seconds:.1f} s.{checked}"
        console.print(told, markup=False, soft_wrap=True)
        return text.getvalue().rstrip("\n")


def verify(
    layer: Layer,
    *,
    framework: str = "numpy",
    cells: Sequence[str] | None = None,
    cases: Sequence[Case] | None = None,
    dtypes: Sequence[str] = ("float32", "float64"),
    gradients: bool | str = AUTO,
    device: str = "cpu",
    num_directions: int | None = NUM_DIRECTIONS,
) -> Verification:
    """Hold a layer against the reference on every case, in this very process.

    Parameters
    ----------
    layer
        ``layer(spec, weights, x, lengths, h_0, c_0)`` returns output and h_n, and c_n of an LSTM. ``spec`` is a
        ``birnn.Specification``; ``weights`` maps canonical names (PyTorch's) to arrays; ``x`` is (batch, seq_len,
        input_size); ``lengths`` None or whole numbers (batch,); ``h_0`` and ``c_0`` are (num_layers·num_directions,
        batch, state_size), ``c_0`` None but for an LSTM. Output is (batch, seq_len, output_size), 0 past a length; the
        final states are as ``h_0``. What it does not support it may refuse by raising NotImplementedError.
    framework
        What arrays it takes and gives: torch, jax, tensorflow, mxnet, or numpy, which serves for everything that
        exchanges by ``__array__`` or DLPack.
    cells
        Of the built-in cases those of these cells, of rnn_tanh, rnn_relu, gru, gru_before (which resets before the
        recurrent product) and lstm; default: all.
    cases
        These cases in place of the built-in ones.
    dtypes
        Of float16, bfloat16, float32 and float64.
    gradients
        Whether the gradients of the framework's automatic differentiation are judged, too; ``"auto"``: where it has
        one, which NumPy has not.
    device
        ``cpu`` or ``gpu``.
    num_directions
        Of the built-in cases those of so many directions: 2, or 1 for a forward-only layer; None for one that does
        both, as ``spec.num_directions`` says.

    Raises
    ------
    InputError
        If an argument is not one of those, or the framework cannot be imported.
    """
    kind = implementation_of(layer, framework)
    dtypes = (dtypes,) if isinstance(dtypes, str) else dtypes
    one_of("device", device, DEVICES)
    for dtype in dtypes:
        one_of("dtype", dtype, DTYPES)
    if gradients not in (True, False, AUTO):
        raise InputError(f"gradients must be True, False or {AUTO!r}; got {shown(repr(gradients))}")
    if gradients is True and not kind.arrays_kind.differentiates:
        raise InputError(f"gradients must be False or {AUTO!r} with {framework}, which has no automatic derivative")
    chosen = builtin_cases_of(cells, num_directions) if cases is None else list(cases)
    with_gradients = kind.arrays_kind.differentiates if gradients == AUTO else bool(gradients)
    if not with_gradients:
        chosen = [forward_alone(case) for case in chosen]
    name = f"{framework}/{getattr(layer, '__name__', type(layer).__name__)}"
    started = time.monotonic()
    outcomes = [_outcome(Trial(kind, name, case, dtype, device)) for dtype in dtypes for case in chosen]
    return Verification(name, framework, with_gradients, outcomes, time.monotonic() - started)


def builtin_cases_of(cells: Sequence[str] | None, num_directions: int | None) -> list[Case]:
    """The built-in cases of some cells, or all, and of so many directions, or both."""
    if num_directions is not None:
        one_of("num_directions", str(num_directions), ("1", "2"))
    cells = [cells] if isinstance(cells, str) else cells
    for cell in cells or ():
        one_of("cells", cell, tuple(CELLS))
    return [
        case for case in of_directions(builtin_cases(), num_directions) if cells is None or cell_of(case.spec) in cells
    ]


def of_directions(cases: Sequence[Case], num_directions: int | None) -> list[Case]:
    """The cases of so many directions; all where it is None."""
    return [case for case in cases if num_directions in (None, case.spec.num_directions)]


def forward_alone(case: Case) -> Case:
    """The case without cotangents and expected gradients, so that no gradient is asked for; a case of its own."""
    return replace(case.without_gradients(), file_sha256=None)


def cell_of(spec: Specification) -> str:
    """The name of a specification's cell among ``CELLS``."""
    return "gru_before" if spec.cell == "gru" and not spec.reset_after else spec.cell


@dataclass(frozen=True)
class Trial:
    """A layer on one case in one dtype."""

    kind: type[OwnLayer]
    name: str
    case: Case
    dtype: str
    device: str

    def run(self, case: Case, gradients: bool) -> Arrays:
        """The result tensors of a call, by name; what the layer raises comes through."""
        rounded = rounded_case(case, self.dtype)
        implementation = self.kind(case.spec, self.dtype, self.device)
        implementation.load_weights(rounded.weights)
        implementation.move_inputs(inputs_of(rounded))
        (implementation.forward_backward if gradients else implementation.forward)()
        implementation.synchronise()
        return implementation.extract()


def _outcome(trial: Trial) -> Outcome:
    """What became of one trial; nothing that the layer raises comes through."""
    case = trial.case
    outcome = Outcome(case.name, trial.name, trial.dtype, trial.device, AGREES)
    gradients = bool(case.cotangents)
    started = time.perf_counter()
    try:
        result = trial.run(case, gradients)
        seconds = time.perf_counter() - started
        verdict = _judged(trial, result, gradients)
    except Unsupported as error:
        return replace(outcome, **vars(error.refusal))
    except InputError as error:
        return replace(outcome, status=FAILED, reason=str(error))
    except Exception as error:
        text = "".join(traceback.format_exception(error)).rstrip().splitlines()
        reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        return replace(outcome, status=FAILED, reason=reason, log="\n".join(text[-LINES_OF_TRACEBACK:]))
    status, reason = verdict.status, "; ".join(verdict.reasons)
    return replace(outcome, status=status, reason=reason, verdict=verdict, seconds=seconds)


def _judged(trial: Trial, result: Arrays, gradients: bool) -> Verdict:
    """The verdict on a result, on a second call and a forward pass alone, and on the case with other padding."""
    yard = yardstick(trial.case, trial.dtype)
    passes = {"again": gradients} | ({"forward": False} if gradients else {})
    return judge_trial(
        result,
        yard if gradients else without_gradients(yard),
        others=lambda: {name: trial.run(trial.case, with_gradients) for name, with_gradients in passes.items()},
        paddings={what: partial(trial.run, other, gradients) for what, other in other_paddings(trial.case).items()},
    )
