"""A checkpoint read by a framework's own loader: what it loads is run natively, to be held against the reference."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from backends.interface.layer import Arrays, Inputs
from common.checkpoints.contents import RecurrentKind


@dataclass(frozen=True)
class AskedLayer:
    """A recurrent layer of a checkpoint: what it is, and the names that its parts have in the file."""

    name: str
    kind: RecurrentKind
    parts: tuple[str, ...]


class Part(NamedTuple):
    """One native layer: its name in the file, what it is, and its initial states (rows, batch, units) each."""

    name: str
    kind: RecurrentKind
    states: tuple[np.ndarray, ...]


def parts_with_states(asked: AskedLayer, inputs: Inputs) -> Iterator[Part]:
    """The native layers of a layer, first to last, with the rows of the states that are theirs."""
    kind = asked.kind
    given = (inputs.h_0,) if inputs.c_0 is None else (inputs.h_0, inputs.c_0)
    if len(asked.parts) == 1:
        yield Part(asked.parts[0], kind, given)
        return
    for k, name in enumerate(asked.parts):
        own = replace(kind, num_layers=1, input_size=kind.layer_input_size(k))
        rows = slice(k * kind.directions, (k + 1) * kind.directions)
        yield Part(name, own, tuple(state[rows] for state in given))


def in_results(output: np.ndarray, finals: list[tuple[np.ndarray, ...]], kind: RecurrentKind) -> Arrays:
    """Output and final states by their names in a result; of directions of different sizes, as wide as the wider."""
    width = max(kind.hidden_sizes)
    results = {"output": output}
    for name, rows in zip(("h_n", "c_n"), zip(*finals, strict=True), strict=False):
        wide = [np.pad(row, ((0, 0), (0, width - row.shape[-1]))) for row in rows]  # (batch, units) each
        results[name] = np.stack(wide)
    return results


class LoadedCheckpoint(ABC):
    """What a framework's own loader has read; one that cannot run a layer raises, and the text says why."""

    @abstractmethod
    def run(self, asked: AskedLayer, dtype: str, inputs: Inputs) -> Arrays:
        """Output (batch, seq_len, width) and final states (rows, batch, units) of a layer, outputs past lengths 0."""

    @abstractmethod
    def plain(self, name: str, kind: str) -> Arrays:
        """An ``embedding``'s weight (rows, width), a ``dense`` layer's weight (out, in) and bias, or, of a format that
        holds them as they are, the arrays of a ``tensor``.
        """
