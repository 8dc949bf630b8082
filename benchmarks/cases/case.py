"""Benchmark cases: a shape of a layer, or a system, that is to be timed; ``benchmarks.cases.files`` reads them."""

from __future__ import annotations

import math
import zlib
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationInfo, field_validator, model_validator

from backends.interface.layer import Training
from common.case import Case, Name
from common.cases.seeded import Shape, make_case
from common.models.small_cases import BatchShape, ModelCase, random_batch
from common.models.specification import Model, SequenceModel, initialise, parameters
from common.specification import Size, Specification
from common.weights import count

LEARNING_RATE = 0.01
"""The learning rate of a timed train step."""
LARGEST_SIZE = 1_000_000
"""The largest width, number of rows, or number of steps of a case."""
LARGEST_ARRAY = 2**32
"""Numbers in the inputs or the outputs of a case: 32 GiB of float64."""
PASSES_OF_SYSTEM = ("train_step",)
"""The passes in which a system is timed."""


class Spread(BaseModel):
    """Lengths drawn uniformly from the whole numbers ``low`` to ``high``; one row, drawn too, gets seq_len."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: int
    high: int


class BenchmarkCase(BaseModel):
    """One shape of one cell, or one system, to be timed.

    Parameters
    ----------
    name
        Unique in its set; the seed of all that is drawn is its CRC-32.
    spec
        The specification; a system's is that of its bidirectional RNN.
    system
        None for the layer alone; or the model that holds it, of which a train step is timed.
    target_len
        Steps of an encoder–decoder's targets; None for all else.
    batch, seq_len
        Rows and steps.
    lengths
        None for full rows; a number for each row; or a ``Spread`` to draw them from.
    classes
        Labels that a train step tells apart.
    passes
        Passes to be timed; empty means those of the set.
    source
        Where the case is from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    spec: Specification
    system: Model | None = None
    target_len: Size | None = None
    seq_len: Size
    batch: Size
    lengths: tuple[int, ...] | Spread | None = None
    classes: Annotated[int, Field(strict=True, ge=2, le=LARGEST_SIZE)] = 5
    passes: tuple[str, ...] = ()
    source: StrictStr = ""

    @field_validator("batch")
    @classmethod
    def _fits_into_memory(cls, batch: int, known: ValidationInfo) -> int:
        if {"spec", "seq_len"} <= known.data.keys():
            spec: Specification = known.data["spec"]
            numbers = batch * known.data["seq_len"] * max(spec.input_size, spec.output_size)
            if numbers > LARGEST_ARRAY:
                raise ValueError(f"must leave at most {LARGEST_ARRAY:,} numbers in x and in output, not {numbers:,}")
        return batch

    @field_validator("spec")
    @classmethod
    def _weights_fit_into_memory(cls, spec: Specification) -> Specification:
        numbers = count(spec)
        if numbers > LARGEST_ARRAY:
            raise ValueError(f"must have at most {LARGEST_ARRAY:,} numbers in its weights, not {numbers:,}")
        return spec

    @field_validator("lengths")
    @classmethod
    def _lengths_fit(
        cls, lengths: tuple[int, ...] | Spread | None, known: ValidationInfo
    ) -> tuple[int, ...] | Spread | None:
        if lengths is None or not {"batch", "seq_len"} <= known.data.keys():
            return lengths
        batch, seq_len = known.data["batch"], known.data["seq_len"]
        if isinstance(lengths, Spread):
            if not 0 <= lengths.low <= lengths.high <= seq_len:
                raise ValueError(f"must have 0 ≤ low ≤ high ≤ {seq_len}")
        elif len(lengths) != batch:
            raise ValueError(f"must have one number for each of the {batch} rows, not {len(lengths)}")
        elif min(lengths) < 0 or max(lengths) > seq_len:
            raise ValueError(f"must lie between 0 and {seq_len}")
        return lengths

    @model_validator(mode="after")
    def _system_fits(self) -> BenchmarkCase:
        if (self.system is not None and self.system.decodes) != (self.target_len is not None):
            raise ValueError("must have target_len for an encoder–decoder, and there alone")
        if self.system is None:
            return self
        if self.spec != self.system.recurrent or self.passes != PASSES_OF_SYSTEM:
            raise ValueError("must have the system's own rnn as its spec, and train_step alone as its passes")
        numbers = self.system_numbers()
        if numbers > LARGEST_ARRAY:
            raise ValueError(f"must leave at most {LARGEST_ARRAY:,} numbers in weights and logits, not {numbers:,}")
        return self

    @property
    def ragged(self) -> bool:
        """Whether lengths are given."""
        return self.lengths is not None

    @property
    def seed(self) -> int:
        """The name's CRC-32: the same everywhere and always."""
        return zlib.crc32(self.name.encode())

    def drawn_lengths(self) -> tuple[int, ...] | None:
        """The rows' lengths, the drawn ones drawn; None for full rows without lengths."""
        if not isinstance(self.lengths, Spread):
            return self.lengths
        rng = self._rng("lengths")
        drawn = rng.integers(self.lengths.low, self.lengths.high, self.batch, endpoint=True)
        drawn[rng.integers(self.batch)] = self.seq_len
        return tuple(drawn.tolist())

    def real_steps(self) -> int:
        """Steps over all rows: the sum of the lengths."""
        lengths = self.drawn_lengths()
        return self.batch * self.seq_len if lengths is None else sum(lengths)

    def longest(self) -> int:
        """The longest length, which is how many steps of a layer follow one another."""
        lengths = self.drawn_lengths()
        return self.seq_len if lengths is None else max(lengths)

    def answers(self) -> int:
        """How many labels a system gives for a batch, the padding's among them."""
        if self.target_len is not None:
            return self.batch * self.target_len
        steps = isinstance(self.system, SequenceModel) and self.system.readout == "steps"
        return self.batch * (self.seq_len if steps else 1)

    def system_numbers(self) -> int:
        """Numbers in a system's weights and logits."""
        assert self.system is not None
        return self.answers() * self.system.num_answers + sum(
            math.prod(shape) for shape in parameters(self.system).values()
        )

    def make(self) -> Case:
        """The layer's case with its arrays: inputs, states, weights and cotangents drawn from the name's seed."""
        return make_case(
            self.name,
            self.spec,
            Shape(self.batch, self.seq_len, self.drawn_lengths()),
            seed=self.seed,
            with_states=True,
            with_cotangents=True,
            source=f"benchmark case, seed {self.seed}",
        )

    def training(self) -> Training:
        """The head and the labels of a train step, drawn from the name's seed.

        The head is drawn as torch.nn.Linear's, from U(−1/√output_size, 1/√output_size); the labels uniformly.
        """
        rng = self._rng("training")
        width = self.spec.output_size
        bound = 1 / np.sqrt(width)
        return Training(
            weight=rng.uniform(-bound, bound, (self.classes, width)),
            bias=rng.uniform(-bound, bound, self.classes),
            labels=rng.integers(self.classes, size=(self.batch, self.seq_len), dtype=np.int64),
            learning_rate=LEARNING_RATE,
        )

    def make_system(self) -> ModelCase:
        """The system with its first weights and one labelled batch (``common.models.small_cases``), drawn from the
        name's seed; a decoder is given the right token at every step.
        """
        assert self.system is not None
        shape = BatchShape(self.batch, self.seq_len, self.target_len or 1, self.ragged)
        batch = dict(random_batch(self.system, shape, self._rng("batch"), lengths=self.drawn_lengths()))
        if "forced" in batch:
            batch["forced"] = np.ones_like(batch["forced"])
        return ModelCase(self.name, self.system, initialise(self.system, self._rng("weights")), batch)

    def _rng(self, what: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(what.encode())])


class CaseSet(BaseModel):
    """Cases with what to do with them when nothing else is asked for.

    ``implementations`` are shell globs of ``framework/name``; ``passes`` and ``dtypes`` as in
    ``backends.interface.layer`` and ``common.judging.precision``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str
    implementations: tuple[str, ...]
    passes: tuple[str, ...]
    dtypes: tuple[str, ...]
    cases: tuple[BenchmarkCase, ...]

    def passes_of(self, case: BenchmarkCase) -> tuple[str, ...]:
        """The passes to time ``case`` in: its own, or the set's."""
        return case.passes or self.passes


def case_name(spec: Specification, seq_len: int, batch: int, ragged: bool) -> str:
    """A name made of cell and sizes, such as ``lstm-T1000-B32-I123-H320-L4-ragged``; usual settings are left out."""
    parts = [spec.cell, f"T{seq_len}", f"B{batch}", f"I{spec.input_size}", f"H{spec.hidden_size}"]
    parts += [f"L{spec.num_layers}"] if spec.num_layers > 1 else []
    parts += [] if spec.merge == "concat" else [spec.merge or "one_direction"]
    parts += [] if spec.bias else ["no_bias"]
    parts += [] if spec.reset_after else ["reset_before"]
    return "-".join([*parts, "ragged"] if ragged else parts)
