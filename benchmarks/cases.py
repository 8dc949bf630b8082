"""Benchmark cases: sets of shapes, built in or read from a TOML file whose format is in docs/benchmarks.md.

    description = "two cells at two sizes, and one ragged case"
    passes = ["forward", "train_step"]

    [[case]]
    cell = ["gru", "lstm"]
    seq_len = 100
    batch = 32
    input_size = "hidden_size"
    hidden_size = [256, 512]

    [[case]]
    cell = "gru"
    seq_len = 100
    batch = 32
    input_size = 40
    hidden_size = 128
    lengths = {low = 50, high = 100}

Each key of a size, and ``cell``, may be a list: the table then means every combination. The file above has five cases,
``gru-T100-B32-I256-H256`` to ``gru-T100-B32-I40-H128-ragged``. Arrays are drawn from a seed that is the name's CRC-32.
"""

from __future__ import annotations

import itertools
import math
import tomllib
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from backends.base import PASSES, Training
from common.case import Case
from common.errors import InputError, from_validation, shown
from common.making import Shape, make_case
from common.precision import DTYPES
from common.specification import CELLS, Cell, Merge, Size, Specification

SETS = Path(__file__).resolve().parent / "sets"
LEARNING_RATE = 0.01
LARGEST_SIZE, MOST_LAYERS, MOST_CASES = 1_000_000, 1_000, 10_000
LARGEST_ARRAY = 2**32
"""Numbers in the inputs or the outputs of a case: 32 GiB of float64."""
SAME_AS_HIDDEN = "hidden_size"

Name = Annotated[str, Field(strict=True, pattern=r"^[^./\x00-\x1f][^/\x00-\x1f]{0,99}$")]


class Spread(BaseModel):
    """Lengths drawn uniformly from the whole numbers ``low`` to ``high``; one row, drawn too, gets seq_len."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: int
    high: int


class BenchmarkCase(BaseModel):
    """One shape of one cell, to be timed.

    Parameters
    ----------
    name
        Unique in its set; the seed of all that is drawn is its CRC-32.
    spec
        The specification.
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
        found = rng.integers(self.lengths.low, self.lengths.high, self.batch, endpoint=True)
        found[rng.integers(self.batch)] = self.seq_len
        return tuple(found.tolist())

    def real_steps(self) -> int:
        """Steps over all rows: the sum of the lengths."""
        lengths = self.drawn_lengths()
        return self.batch * self.seq_len if lengths is None else sum(lengths)

    def longest(self) -> int:
        """The longest length, which is how many steps of a layer follow one another."""
        lengths = self.drawn_lengths()
        return self.seq_len if lengths is None else max(lengths)

    def make(self) -> Case:
        """The case with its arrays: inputs, states, weights and cotangents drawn from the name's seed."""
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

    def _rng(self, what: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(what.encode())])


class CaseSet(BaseModel):
    """Cases with what to do with them when nothing else is asked for.

    ``implementations`` are shell globs of ``framework/name``; ``passes`` and ``dtypes`` as in ``backends.base`` and
    ``common.precision``.
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


def _several(rule: str, holds: Callable[[Any], bool]) -> BeforeValidator:
    """Take one value or a list of them, without repeats; ``rule`` says what each must be."""

    def check(value: object) -> tuple[Any, ...]:
        found = tuple(value) if isinstance(value, list | tuple) else (value,)
        if not found or not all(holds(each) for each in found):
            raise ValueError(f"must be {rule}, or a list of such")
        if len(set(found)) < len(found):
            raise ValueError("must name nothing twice")
        return found

    return BeforeValidator(check)


def _whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _one_of(names: tuple[str, ...]) -> BeforeValidator:
    return _several(f"one of {', '.join(names)}", lambda value: isinstance(value, str) and value in names)


def _sizes(most: int) -> BeforeValidator:
    return _several(f"a whole number from 1 to {most:,}", lambda value: _whole(value, 1, most))


def _lengths(value: object) -> object:
    """Take a list of whole numbers, or a table with low and high."""
    numbers = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if not numbers or not all(_whole(each, 0, LARGEST_SIZE) for each in numbers):
        raise ValueError("must be a list of whole numbers, or a table such as {low = 50, high = 100}")
    if isinstance(value, dict) and value.keys() != {"low", "high"}:
        raise ValueError("must have the keys low and high")
    return tuple(numbers) if isinstance(value, list) else Spread.model_validate(value)


def _is_pattern(value: object) -> bool:
    return isinstance(value, str) and value != ""


Sizes = Annotated[tuple[int, ...], _sizes(LARGEST_SIZE)]
InputSizes = Annotated[
    tuple[int | str, ...],
    _several(
        f'a whole number from 1 to {LARGEST_SIZE:,} or "{SAME_AS_HIDDEN}"',
        lambda value: value == SAME_AS_HIDDEN or _whole(value, 1, LARGEST_SIZE),
    ),
]
Passes = Annotated[tuple[str, ...], _one_of(PASSES)]


class CaseTable(BaseModel):
    """A ``[[case]]`` table as it stands in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cell: Annotated[tuple[Cell, ...], _one_of(CELLS)]
    seq_len: Sizes
    batch: Sizes
    input_size: InputSizes
    hidden_size: Sizes
    num_layers: Annotated[tuple[int, ...], _sizes(MOST_LAYERS)] = (1,)
    name: Name | None = None
    merge: Merge = "concat"
    bias: StrictBool = True
    reset_after: StrictBool = True
    lengths: Annotated[tuple[int, ...] | Spread | None, BeforeValidator(_lengths)] = None
    classes: Annotated[int, Field(strict=True, ge=2, le=LARGEST_SIZE)] = 5
    passes: Passes = ()
    source: StrictStr = ""

    @field_validator("reset_after")
    @classmethod
    def _reset_before_is_for_gru(cls, reset_after: bool, known: ValidationInfo) -> bool:
        if not reset_after and known.data.get("cell") != ("gru",):
            raise ValueError("must be true unless cell is gru alone")
        return reset_after

    def _lists(self) -> tuple[tuple[Any, ...], ...]:
        return (self.cell, self.seq_len, self.batch, self.input_size, self.hidden_size, self.num_layers)

    def count(self) -> int:
        """How many cases the table means."""
        return math.prod(len(each) for each in self._lists())

    def cases(self) -> Iterator[BenchmarkCase]:
        """Every combination of the lists, the last key varying fastest."""
        for cell, seq_len, batch, input_size, hidden_size, num_layers in itertools.product(*self._lists()):
            spec = Specification(
                cell=cell,
                input_size=hidden_size if isinstance(input_size, str) else input_size,
                hidden_size=hidden_size,
                num_layers=num_layers,
                merge=self.merge,
                bias=self.bias,
                reset_after=self.reset_after,
            )
            yield BenchmarkCase(
                name=self.name or case_name(spec, seq_len, batch, self.lengths is not None),
                spec=spec,
                seq_len=seq_len,
                batch=batch,
                lengths=self.lengths,
                classes=self.classes,
                passes=self.passes,
                source=self.source,
            )


class SetFile(BaseModel):
    """A TOML file with its ``[[case]]`` tables still to be checked, one by one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: StrictStr = ""
    implementations: Annotated[tuple[str, ...], _several("a pattern such as torch/* or */native*", _is_pattern)] = (
        "*/native*",
        "*/tuned",
    )
    passes: Passes = ("forward", "forward_backward")
    dtypes: Annotated[tuple[str, ...], _one_of(DTYPES)] = ("float32",)
    case: list[dict[str, Any]] = []


def case_name(spec: Specification, seq_len: int, batch: int, ragged: bool) -> str:
    """A name made of cell and sizes, such as ``lstm-T1000-B32-I123-H320-L4-ragged``; usual settings are left out."""
    parts = [spec.cell, f"T{seq_len}", f"B{batch}", f"I{spec.input_size}", f"H{spec.hidden_size}"]
    parts += [f"L{spec.num_layers}"] if spec.num_layers > 1 else []
    parts += [] if spec.merge == "concat" else [spec.merge]
    parts += [] if spec.bias else ["no_bias"]
    parts += [] if spec.reset_after else ["reset_before"]
    return "-".join([*parts, "ragged"] if ragged else parts)


def built_in_sets() -> list[str]:
    """Names of the sets that come with the suite."""
    return sorted(path.stem for path in SETS.glob("*.toml"))


def load_set(text: str) -> CaseSet:
    """The set that ``text`` names: a built-in one, or a TOML file.

    Raises
    ------
    InputError
        If there is no such set or file, or something in it does not hold; one sentence with the file, the number of
        the ``[[case]]`` table and the key.
    """
    if text in built_in_sets():
        path, what = SETS / f"{text}.toml", f"sets/{text}.toml"
    else:
        path, what = Path(text), text
        if not path.suffix and not path.exists():
            raise InputError(f"--cases must name one of {', '.join(built_in_sets())}, or a TOML file; got {text!r}")
    file = _read(path, what)
    if not file.case:
        raise InputError(f"{what}: must have at least one [[case]]; got none")
    cases = [case for number, table in enumerate(file.case, 1) for case in _cases(table, f"{what}: case {number}")]
    for name, times in Counter(case.name for case in cases).items():
        if times > 1:
            raise InputError(f"{what}: every case must have a name of its own; got {name!r} {times} times")
    return CaseSet(
        name=path.stem,
        description=file.description,
        implementations=file.implementations,
        passes=file.passes,
        dtypes=file.dtypes,
        cases=tuple(cases),
    )


def _read(path: Path, what: str) -> SetFile:
    try:
        return SetFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(f"{what}: must be a TOML file; there is no such file") from None
    except OSError as error:
        raise InputError(f"{what}: must be a readable TOML file; got: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{what}: must be UTF-8; got the byte {error.object[error.start]:#x}") from None
    except ValidationError as error:
        raise from_validation(error, what) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        reason = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "arrays nested too deep"
        raise InputError(f"{what}: must be TOML; got: {reason}") from None


def _cases(table: dict[str, Any], what: str) -> list[BenchmarkCase]:
    try:
        found = CaseTable.model_validate(table)
        many = found.count()
        if many > MOST_CASES:
            raise InputError(f"{what} must mean at most {MOST_CASES:,} cases; got lists that make {many:,}")
        if found.name is not None and many > 1:
            raise InputError(f"{what}: name must be left out where lists make {many} cases; got {shown(found.name)}")
        return list(found.cases())
    except ValidationError as error:
        raise from_validation(error, what) from None
