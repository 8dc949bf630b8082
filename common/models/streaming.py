"""Streaming: a sequence model's answers to a sequence that is still arriving, a chunk of its steps at a time.

A chunk of c steps is answered when a further a steps have come, the look-ahead (at the row's end as many as there are).
In this window of c + a steps each layer's forward direction goes on from its state after the chunk before, and the
reverse direction starts anew, from zeros at the window's end. Only the chunk's steps are answered; the forward state
that is carried on is the one after the chunk, so the look-ahead is read again.

What of this is exact, which is to say what the whole sequence gives, to rounding:

- with one direction, everything;
- with one layer of two directions, every chunk whose window reaches the row's end: the forward direction has read all
  that came before, and the reverse direction all that comes after;
- with more layers, a row whose first window reaches its end, and no other chunk: from the second layer on, the forward
  direction reads the reverse outputs of the layer below, so a state that was carried out of a window too short is wrong
  for good, even in a last window that does reach the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from common.errors import InputError
from common.models.specification import Model, SequenceModel
from common.specification import Size, Specification


class Window(NamedTuple):
    """Steps that are run together: ``chunk`` of them from ``start`` on, which are answered, and ``ahead`` behind."""

    start: int
    chunk: int
    ahead: int

    @property
    def end(self) -> int:
        """How many steps of the row have to be there."""
        return self.start + self.chunk + self.ahead


class Streaming(BaseModel):
    """How a sequence is streamed.

    Parameters
    ----------
    chunk
        Steps that are answered together.
    look_ahead
        Steps behind the chunk that the reverse direction reads first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    chunk: Size
    look_ahead: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 0

    def windows(self, length: int) -> Iterator[Window]:
        """The windows of a row of ``length`` steps, in order; those at its end are shorter."""
        for start in range(0, length, self.chunk):
            chunk = min(self.chunk, length - start)
            yield Window(start, chunk, min(self.look_ahead, length - start - chunk))

    def wait(self, length: int) -> int:
        """How many steps of a row must have come before the first of them is answered."""
        return next(self.windows(length)).end


def check_streamed(spec: Model, streaming: Streaming) -> SequenceModel:
    """Check that a model can be streamed, and give it.

    Raises
    ------
    InputError
        If it answers from the last step, by whole rows or decodes, or has one direction and yet a look-ahead.
    """
    if not isinstance(spec, SequenceModel):
        raise InputError("--chunk must be given with a model that answers each step; this one decodes the whole source")
    if spec.readout != "steps":
        raise InputError("--chunk must be given with a model that answers each step; this one reads the final states")
    if spec.head == "crf":
        raise InputError(
            "--chunk must be given with a model that answers each step by itself; a CRF answers whole rows"
        )
    if spec.rnn.num_directions == 1 and streaming.look_ahead:
        got = streaming.look_ahead
        raise InputError(f"--look-ahead must be 0 for a model of one direction, which reads no step ahead; got {got}")
    return spec


def computed_steps(rnn: Specification, window: Window) -> int:
    """How many steps of a cell a window takes, over all layers and directions of the RNN, for one row.

    A reverse direction takes all of the window. A forward direction takes the chunk; below the top it then goes on
    through the look-ahead, whose outputs the layer above reads in reverse.
    """
    if rnn.num_directions == 1:
        return rnn.num_layers * window.chunk
    whole = window.chunk + window.ahead
    return rnn.num_layers * whole + (rnn.num_layers - 1) * whole + window.chunk


def exact_steps(rnn: Specification, streaming: Streaming, length: int) -> int:
    """How many steps of a row of ``length`` steps are answered as the whole sequence would be, whatever it holds."""
    windows = list(streaming.windows(length))
    if rnn.num_directions == 1 or windows[0].end == length:
        return length
    if rnn.num_layers > 1:
        return 0
    return sum(window.chunk for window in windows if window.end == length)
