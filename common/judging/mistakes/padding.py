"""Mistakes with flips, lengths and padding: what is read, held, masked and given past a row's length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from common.case import Case
from common.cells import State
from common.judging.mistakes.mistake import Mistake, inside, ragged, several_steps, two_directions
from common.reference import FORWARD, REVERSE, Arrays, Reference, step_mask


class NotFlippedBack(Reference):
    """The reverse direction's output is left in the order in which it was computed."""

    def from_direction(self, output: np.ndarray, lengths: np.ndarray | None, direction: int) -> np.ndarray:
        return output


class ReadBackwards(Reference):
    """The one direction reads time from its end, each row by its length, as a reverse one does."""

    def to_direction(self, x: np.ndarray, lengths: np.ndarray | None, direction: int) -> np.ndarray:
        return super().to_direction(x, lengths, REVERSE)

    def from_direction(self, output: np.ndarray, lengths: np.ndarray | None, direction: int) -> np.ndarray:
        return super().from_direction(output, lengths, REVERSE)


class FlippedOverThePadding(Reference):
    """The whole row is flipped, so the reverse half starts in the padding; the mask is where it was."""

    def to_direction(self, x: np.ndarray, lengths: np.ndarray | None, direction: int) -> np.ndarray:
        return super().to_direction(x, None, direction)

    def from_direction(self, output: np.ndarray, lengths: np.ndarray | None, direction: int) -> np.ndarray:
        return super().from_direction(output, None, direction)


class LengthsIgnored(Reference):
    """Both directions run over the whole row, its padding included, and nothing is masked."""

    def forward(self, x: np.ndarray, lengths: np.ndarray | None, h_0: np.ndarray, c_0: np.ndarray) -> Arrays:
        return super().forward(x, None, h_0, c_0)


class LengthsIgnoredInReverse(FlippedOverThePadding):
    """The forward half stops at the length; the reverse half runs over the whole row, padding first."""

    def mask(self, lengths: np.ndarray | None, batch: int, seq_len: int, direction: int) -> np.ndarray:
        return super().mask(lengths if direction == FORWARD else None, batch, seq_len, direction)


class LastOutputForState(Reference):
    """h_n is the output at the last index of the array, in both directions; c_n stays right."""

    def final_state(self, output: np.ndarray, state: State) -> State:
        return State(output[:, -1], state.c)

    def final_state_gradient(self, d_output: np.ndarray, d_state: State) -> tuple[np.ndarray, State]:
        d_output = d_output.copy()
        d_output[:, -1] += d_state.h
        return d_output, State(np.zeros_like(d_state.h), d_state.c)


class LastRealOutputForState(Reference):
    """h_n is the output at the row's last real step, in both directions, whose reverse one ends at step 0; c_n stays
    right. An index of -1, of an empty row, is the last step, where the output is 0.
    """

    def final_state(self, output: np.ndarray, state: State) -> State:
        return State(output[self._last_steps(output)], state.c)

    def final_state_gradient(self, d_output: np.ndarray, d_state: State) -> tuple[np.ndarray, State]:
        d_output = d_output.copy()
        d_output[self._last_steps(d_output)] += d_state.h
        return d_output, State(np.zeros_like(d_state.h), d_state.c)

    def _last_steps(self, output: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        batch, seq_len = output.shape[:2]
        return np.arange(batch), (np.full(batch, seq_len) if self._lengths is None else self._lengths) - 1


class OutputsMasked(Reference):
    """Outputs past the length are set to 0 when the stack has run, whatever it did there."""

    def forward(self, x: np.ndarray, lengths: np.ndarray | None, h_0: np.ndarray, c_0: np.ndarray) -> Arrays:
        self._real = step_mask(lengths, x.shape[0], x.shape[1])[..., None]
        results = super().forward(x, lengths, h_0, c_0)
        return results | {"output": np.where(self._real, results["output"], np.zeros_like(results["output"]))}

    def backward(self, d_output: np.ndarray, d_h_n: np.ndarray, d_c_n: np.ndarray) -> Arrays:
        return super().backward(np.where(self._real, d_output, np.zeros_like(d_output)), d_h_n, d_c_n)


class EachOutputMasked(Reference):
    """Outputs past the length are set to 0 after each layer and direction, whatever it did there."""

    def run_direction(self, x: np.ndarray, state: State, layer: int, direction: int) -> tuple[np.ndarray, State]:
        output, state = super().run_direction(x, state, layer, direction)
        return self._masked(output), state

    def back_direction(
        self, d_output: np.ndarray, d_state: State, layer: int, direction: int, gradients: Arrays
    ) -> tuple[np.ndarray, State]:
        return super().back_direction(self._masked(d_output), d_state, layer, direction, gradients)

    def _masked(self, output: np.ndarray) -> np.ndarray:
        real = step_mask(self._lengths, output.shape[0], output.shape[1])[..., None]
        return np.where(real, output, np.zeros_like(output))


class LengthsIgnoredOutputsMasked(OutputsMasked, LengthsIgnored):
    """Both directions run over the whole row, and outputs past the length are set to 0 in the end."""


class WholeRowFlippedOutputsMasked(OutputsMasked, LengthsIgnoredInReverse):
    """The reverse half starts in the padding; its output is flipped back, and masked in the end."""


class WholeRowFlippedEachOutputMasked(EachOutputMasked, LengthsIgnoredInReverse):
    """The reverse half starts in the padding; its output is flipped back, and masked before the next layer reads it."""


class StateRunsOn(EachOutputMasked):
    """Rows are flipped by their lengths and outputs masked, but the state is not held past the length."""

    def mask(self, lengths: np.ndarray | None, batch: int, seq_len: int, direction: int) -> np.ndarray:
        return super().mask(None, batch, seq_len, direction)


class MasksOneStepLong(Reference):
    """One step of padding is taken for a real one; rows are flipped by their lengths."""

    def mask(self, lengths: np.ndarray | None, batch: int, seq_len: int, direction: int) -> np.ndarray:
        return super().mask(None if lengths is None else lengths + 1, batch, seq_len, direction)


class MasksOneStepShort(Reference):
    """The last real step, in each direction's own order, is taken for padding; rows are flipped by their lengths."""

    def mask(self, lengths: np.ndarray | None, batch: int, seq_len: int, direction: int) -> np.ndarray:
        return super().mask(None if lengths is None else lengths - 1, batch, seq_len, direction)


class LengthsOneTooLarge(Reference):
    """Each row is taken to be one step longer than it is, where the array has such a step."""

    def forward(self, x: np.ndarray, lengths: np.ndarray | None, h_0: np.ndarray, c_0: np.ndarray) -> Arrays:
        wrong = None if lengths is None else np.minimum(lengths + 1, x.shape[1])
        return super().forward(x, wrong, h_0, c_0)


class LengthsOneTooSmall(Reference):
    """Each row is taken to be one step shorter than it is, and an empty one to be empty."""

    def forward(self, x: np.ndarray, lengths: np.ndarray | None, h_0: np.ndarray, c_0: np.ndarray) -> Arrays:
        return super().forward(x, None if lengths is None else np.maximum(lengths - 1, 0), h_0, c_0)


class LastOutputRepeated(Reference):
    """The output at a row's last real step stands at every step past it, too."""

    def forward(self, x: np.ndarray, lengths: np.ndarray | None, h_0: np.ndarray, c_0: np.ndarray) -> Arrays:
        results = super().forward(x, lengths, h_0, c_0)
        output = results["output"].copy()
        for row, length in self._short_rows(x.shape[1]):
            output[row, length:] = output[row, length - 1]
        return results | {"output": output}

    def backward(self, d_output: np.ndarray, d_h_n: np.ndarray, d_c_n: np.ndarray) -> Arrays:
        d_output = d_output.astype(self.dtype)
        for row, length in self._short_rows(d_output.shape[1]):
            d_output[row, length - 1] += d_output[row, length:].sum(axis=0)
        return super().backward(d_output, d_h_n, d_c_n)

    def _short_rows(self, seq_len: int) -> list[tuple[int, int]]:
        lengths = [] if self._lengths is None else self._lengths.tolist()
        return [(row, length) for row, length in enumerate(lengths) if 0 < length < seq_len]


class HeldStateGiven(Reference):
    """The state that is held past the length is given as the output there, in each layer and direction (as Keras' RNN
    does with zero_output_for_mask=False).
    """

    def run_direction(self, x: np.ndarray, state: State, layer: int, direction: int) -> tuple[np.ndarray, State]:
        output, state = super().run_direction(x, state, layer, direction)
        real = step_mask(self._lengths, x.shape[0], x.shape[1])[..., None]
        return np.where(real, output, state.h[:, None]), state

    def back_direction(
        self, d_output: np.ndarray, d_state: State, layer: int, direction: int, gradients: Arrays
    ) -> tuple[np.ndarray, State]:
        real = step_mask(self._lengths, d_output.shape[0], d_output.shape[1])[..., None]
        d_held = np.where(real, np.zeros_like(d_output), d_output).sum(axis=1)
        return super().back_direction(d_output, State(d_state.h + d_held, d_state.c), layer, direction, gradients)


def padding_mistakes() -> Iterator[Mistake]:
    """Every mistake with flips, lengths and padding."""
    yield inside("reverse half not flipped back", NotFlippedBack, _several_steps_back)
    yield inside("the forward direction reads time from its end", ReadBackwards, _forward_alone)
    for name, kind in (
        ("flipped over the padding", FlippedOverThePadding),
        ("lengths ignored in the reverse direction", LengthsIgnoredInReverse),
        ("whole padded row flipped, outputs masked in the end", WholeRowFlippedOutputsMasked),
    ):
        yield inside(name, kind, _ragged_back, reads_padding=True)
    for name, other in (
        ("lengths ignored", LengthsIgnored),
        ("lengths ignored, outputs masked in the end", LengthsIgnoredOutputsMasked),
        ("lengths one too large", LengthsOneTooLarge),
    ):
        yield inside(name, other, ragged, reads_padding=True)
    yield inside(
        "whole padded row flipped, outputs masked after each layer",
        WholeRowFlippedEachOutputMasked,
        lambda case, dtype: case.spec.num_layers > 1 and _ragged_back(case, dtype),
        reads_padding=True,
    )
    yield inside("state runs on through the padding", StateRunsOn, ragged, each_direction=True, reads_padding=True)
    yield inside("masks one step too long", MasksOneStepLong, ragged, each_direction=True, reads_padding=True)
    yield inside("masks one step too short", MasksOneStepShort, _masked, each_direction=True)
    yield inside("lengths one too small", LengthsOneTooSmall, _masked)
    yield inside("last real output repeated past the length", LastOutputRepeated, _short_rows)
    yield inside("held state given as output past the length", HeldStateGiven, ragged, each_direction=True)
    yield inside("last output taken for the final state", LastOutputForState, _last_is_not_final, each_direction=True)
    # In full rows it is the one above, and in the forward direction alone none.
    yield inside(
        "last real output taken for the final state",
        LastRealOutputForState,
        lambda case, dtype: _short_rows(case, dtype) and two_directions(case, dtype),
    )


def _several_steps_back(case: Case, dtype: str) -> bool:
    """Whether a reverse direction reads rows of more than one step."""
    return several_steps(case, dtype) and two_directions(case, dtype)


def _forward_alone(case: Case, dtype: str) -> bool:
    """Whether the forward direction is the only one, and reads rows of more than one step."""
    return several_steps(case, dtype) and not two_directions(case, dtype)


def _ragged_back(case: Case, dtype: str) -> bool:
    """Whether there are both padding and a reverse direction."""
    return ragged(case, dtype) and two_directions(case, dtype)


def _last_is_not_final(case: Case, dtype: str) -> bool:
    """Whether some direction ends elsewhere than at the array's last step: a reverse one does, a short row does."""
    return _several_steps_back(case, dtype) or ragged(case, dtype)


def _masked(case: Case, dtype: str) -> bool:
    """Whether lengths are given and some row has a real step."""
    return case.lengths is not None and bool(case.lengths.any())


def _short_rows(case: Case, dtype: str) -> bool:
    """Whether some row has both real steps and padding."""
    return case.lengths is not None and bool(((case.lengths > 0) & (case.lengths < case.seq_len)).any())
