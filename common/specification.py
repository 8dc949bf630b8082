"""What a bidirectional RNN is, or one direction of it: the specification that every backend implements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, ValidationError, model_validator

from common.errors import from_validation

Cell = Literal["rnn_tanh", "rnn_relu", "gru", "lstm"]
"""The names of the cells."""
Merge = Literal["concat", "sum", "mul", "ave", "weighted"]
"""The names of the merges."""
FileVersion = Literal[1, 2, 3]
"""The versions of the file formats."""


def _not_a_bool(value: object) -> object:
    """Let through all but true and false, which Python takes for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


NOT_A_BOOL = BeforeValidator(_not_a_bool)
"""Refuses true and false where a number is wanted, which Python takes for 1 and 0."""
Directions = Annotated[Literal[1, 2], NOT_A_BOOL]
"""One direction or two."""
Size = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
"""A width, from 1 to 1,000,000."""
Depth = Annotated[int, Field(strict=True, ge=1, le=1_000)]
"""A number of layers, from 1 to 1,000."""

CELLS: tuple[Cell, ...] = get_args(Cell)
"""Every cell."""
MERGES: tuple[Merge, ...] = get_args(Merge)
"""Every merge."""
NUM_DIRECTIONS = 2
"""Directions of a bidirectional RNN."""
GATES: dict[Cell, tuple[str, ...]] = {
    "rnn_tanh": ("h",),
    "rnn_relu": ("h",),
    "gru": ("r", "z", "n"),
    "lstm": ("i", "f", "g", "o"),
}
"""Gates in the canonical order, which is PyTorch's (torch.nn.RNN, GRU, LSTM, version 2.13)."""


class Specification(BaseModel):
    """A bidirectional RNN, or with ``num_directions`` 1 a forward one, without its weights.

    Parameters
    ----------
    cell
        ``rnn_tanh``, ``rnn_relu``, ``gru`` or ``lstm``.
    input_size, hidden_size, num_layers
        Features of a step, units in each direction (both at most 1,000,000), stacked layers (at most 1,000).
    bias
        Whether every layer and direction has ``bias_ih`` and ``bias_hh``.
    merge
        How a layer's two directions become its output; None where there is one direction, and there alone, whose output
        is the layer's. It applies after every layer, so the next layer's input
        is 2·hidden_size wide for ``concat`` and hidden_size for the others. ``weighted`` is learned: the layer has a
        ``merge_weight_l{k}`` (2, hidden_size), and its output is row 0 times forward plus row 1 times reverse, feature
        by feature.
    reset_after
        GRU only. True: n = tanh(W x + b_ih + r·(R h + b_hh)), as in cuDNN, PyTorch and Keras' default.
        False: n = tanh(W x + b_ih + R (r·h) + b_hh), as in Cho et al. 2014 (arXiv:1406.1078v3, eq. 8).
    hidden_size_reverse
        Units of the reverse direction where they are not ``hidden_size``; for ``concat`` alone, whose output is then
        hidden_size + hidden_size_reverse wide. States are as wide as the wider direction; what a narrower direction has
        beyond its units is 0.
    num_directions
        2, or 1: forward only. There are then no ``_reverse`` weights, states are (num_layers, batch, hidden_size), and
        every layer's output is hidden_size wide.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cell: Cell
    input_size: Size
    hidden_size: Size
    num_layers: Depth
    bias: StrictBool
    merge: Merge | None = None
    reset_after: StrictBool = True
    hidden_size_reverse: Size | None = None
    num_directions: Directions = 2

    @model_validator(mode="after")
    def _options_go_together(self) -> Specification:
        if not self.reset_after and self.cell != "gru":
            raise ValueError(f"must have reset_after=false for the cell gru alone (the cell is {self.cell})")
        if self.num_directions == 1:
            self._check_one_direction()
        elif self.merge is None:
            raise ValueError(f"must have a merge for its two directions ({', '.join(MERGES)})")
        elif self.hidden_size_reverse is not None and self.merge != "concat":
            raise ValueError(f"must have hidden_size_reverse for the merge concat alone (the merge is {self.merge})")
        return self

    def _check_one_direction(self) -> None:
        if self.merge is not None:
            raise ValueError(
                f"must have no merge where num_directions is 1, which leaves nothing to merge (it has {self.merge})"
            )
        if self.hidden_size_reverse is not None:
            raise ValueError(
                f"must have no hidden_size_reverse where num_directions is 1 (it has {self.hidden_size_reverse})"
            )

    @property
    def num_gates(self) -> int:
        """Rows of a kernel over hidden_size: 1 (rnn), 3 (gru) or 4 (lstm)."""
        return len(GATES[self.cell])

    @property
    def output_size(self) -> int:
        """Width of a layer's merged output, or of its one direction's."""
        return sum(self.hidden_sizes) if self.keeps_directions else self.hidden_size

    @property
    def keeps_directions(self) -> bool:
        """Whether a layer's output holds each direction's as it is: two side by side, or one."""
        return self.merge in (None, "concat")

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """Units of the forward and, where there is one, of the reverse direction."""
        return (self.hidden_size, self.hidden_size_reverse or self.hidden_size)[: self.num_directions]

    @property
    def state_size(self) -> int:
        """Width of the states: that of the wider direction."""
        return max(self.hidden_sizes)

    @property
    def file_version(self) -> FileVersion:
        """The first version of the file formats that can say this."""
        if self.num_directions == 1:
            return 3
        return 2 if self.merge == "weighted" or self.hidden_size_reverse is not None else 1

    def of_direction(self, layer: int, direction: int) -> Specification:
        """One layer's RNN in one direction, as a specification of its own."""
        return self.model_copy(
            update={
                "input_size": self.layer_input_size(layer),
                "hidden_size": self.hidden_sizes[direction],
                "hidden_size_reverse": None,
                "num_layers": 1,
                "merge": None,
                "num_directions": 1,
            }
        )

    def layer_input_size(self, layer: int) -> int:
        """Width of what layer ``layer`` reads."""
        return self.input_size if layer == 0 else self.output_size

    def as_json(self) -> dict[str, Any]:
        """The specification as its JSON object; ``reset_after`` is there for a GRU alone, ``hidden_size_reverse`` where
        it is given, and ``num_directions`` in the place of ``merge`` where it is 1.
        """
        absent = set() if self.cell == "gru" else {"reset_after"}
        absent |= set() if self.hidden_size_reverse else {"hidden_size_reverse"}
        return self.model_dump(exclude=absent | {"merge" if self.num_directions == 1 else "num_directions"})

    def __str__(self) -> str:
        reset = "" if self.cell != "gru" or self.reset_after else " reset-before"
        bias = "" if self.bias else " no-bias"
        units = "+".join(map(str, dict.fromkeys(self.hidden_sizes)))
        sizes = f"{self.input_size}→{units}×{self.num_layers}"
        return f"{self.cell}{reset} {sizes} {self.merge or 'forward only'}{bias}"


def specification_from_json(content: Mapping[str, Any], what: str = "spec") -> Specification:
    """Check ``content`` and make a specification of it.

    Raises
    ------
    InputError
        If a key is unknown or missing, or a value has the wrong type or range; ``what`` names the origin.
    """
    try:
        return Specification.model_validate(content)
    except ValidationError as error:
        raise from_validation(error, what) from None
