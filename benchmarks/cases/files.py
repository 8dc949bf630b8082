"""Files of benchmark cases: sets, built in or read from a TOML file whose format is in docs/benchmarks.md.

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

Each key of a size, ``cell`` and ``num_directions`` may be a list: the table then means every combination. The file
above has five cases, ``gru-T100-B32-I256-H256`` to ``gru-T100-B32-I40-H128-ragged``. Arrays are drawn from a seed that
is the name's CRC-32.

A table with the key ``system``, a model in the JSON form of ``common.models.specification``, is one case: a train step
of that model. benchmarks/cases/sets/systems.toml has some.
"""

from __future__ import annotations

import itertools
import math
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

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

from backends.interface.layer import PASSES
from benchmarks.cases.case import LARGEST_SIZE, PASSES_OF_SYSTEM, BenchmarkCase, CaseSet, Name, Spread, case_name
from common.errors import InputError, from_validation, shown
from common.judging.precision import DTYPES
from common.models.specification import Model, Seq2Seq, model_from_json
from common.specification import CELLS, NUM_DIRECTIONS, Cell, Merge, Size, Specification

SETS = Path(__file__).resolve().parent / "sets"
"""The folder of the sets that come with the suite."""
MOST_LAYERS, MOST_CASES = 1_000, 10_000
"""How many layers a case may have, and how many cases a set."""
LARGEST_FILE = 8 * 2**20
"""Bytes of the largest file of a set that is read."""
MOST_PARTS = 20
"""How many sets a set may be made of."""
_PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
DEEP_KEY = re.compile(rf"^[ \t]*\[{{0,2}}[ \t]*{_PART}(?:[ \t]*\.[ \t]*{_PART}){{{MOST_PARTS},}}", re.MULTILINE)
"""A dotted key that makes tables in tables; tomllib (3.11) takes 50 s for 20,000 of them."""
SAME_AS_HIDDEN = "hidden_size"
"""What stands for an input_size that is the hidden_size."""


def _several(rule: str, holds: Callable[[Any], bool]) -> BeforeValidator:
    """Take one value or a list of them, without repeats; ``rule`` says what each must be."""

    def check(value: object) -> tuple[Any, ...]:
        values = tuple(value) if isinstance(value, list | tuple) else (value,)
        if not values or not all(holds(each) for each in values):
            raise ValueError(f"must be {rule}, or a list of such")
        if len(set(values)) < len(values):
            raise ValueError("must name nothing twice")
        return values

    return BeforeValidator(check)


def _whole(value: object, least: int, most: int) -> bool:
    """Whether a value is a whole number in a range."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _one_of(names: tuple[str, ...]) -> BeforeValidator:
    """Reads one name or several, all of them among these."""
    return _several(f"one of {', '.join(names)}", lambda value: isinstance(value, str) and value in names)


def _sizes(most: int) -> BeforeValidator:
    """Reads one size or several."""
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
    """Whether a value is a pattern."""
    return isinstance(value, str) and value != ""


Sizes = Annotated[tuple[int, ...], _sizes(LARGEST_SIZE)]
"""One size or several."""
InputSizes = Annotated[
    tuple[int | str, ...],
    _several(
        f'a whole number from 1 to {LARGEST_SIZE:,} or "{SAME_AS_HIDDEN}"',
        lambda value: value == SAME_AS_HIDDEN or _whole(value, 1, LARGEST_SIZE),
    ),
]
"""One input_size or several, each a number or ``SAME_AS_HIDDEN``."""
Passes = Annotated[tuple[str, ...], _one_of(PASSES)]
"""One pass or several."""


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
    num_directions: Annotated[tuple[Literal[1, 2], ...], _several("1 or 2", lambda value: _whole(value, 1, 2))] = (2,)
    merge: Merge | None = None
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
        sizes = (self.seq_len, self.batch, self.input_size, self.hidden_size, self.num_layers)
        return (self.cell, *sizes, self.num_directions)

    def count(self) -> int:
        """How many cases the table means."""
        return math.prod(len(each) for each in self._lists())

    def cases(self) -> Iterator[BenchmarkCase]:
        """Every combination of the lists, the last key varying fastest."""
        for cell, seq_len, batch, input_size, hidden_size, num_layers, directions in itertools.product(*self._lists()):
            spec = Specification(
                cell=cell,
                input_size=hidden_size if isinstance(input_size, str) else input_size,
                hidden_size=hidden_size,
                num_layers=num_layers,
                merge=self.merge or ("concat" if directions == NUM_DIRECTIONS else None),
                bias=self.bias,
                reset_after=self.reset_after,
                num_directions=directions,
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


class SystemTable(BaseModel):
    """A ``[[case]]`` table with a system, which is one case."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    system: Model
    seq_len: Size
    batch: Size
    target_len: Annotated[Size | None, Field(validate_default=True)] = None
    lengths: Annotated[tuple[int, ...] | Spread | None, BeforeValidator(_lengths)] = None
    passes: Passes = PASSES_OF_SYSTEM
    source: StrictStr = ""

    @field_validator("target_len")
    @classmethod
    def _targets_are_for_decoders(cls, target_len: int | None, known: ValidationInfo) -> int | None:
        if isinstance(known.data.get("system"), Seq2Seq) != (target_len is not None):
            raise ValueError("must be given for an encoder–decoder, and there alone")
        return target_len

    @field_validator("lengths")
    @classmethod
    def _rows_are_not_empty(cls, lengths: tuple[int, ...] | Spread | None) -> tuple[int, ...] | Spread | None:
        least = lengths.low if isinstance(lengths, Spread) else min(lengths or (1,))
        if least < 1:
            raise ValueError("must be at least 1 in a system")
        return lengths

    @field_validator("passes")
    @classmethod
    def _systems_train(cls, passes: tuple[str, ...]) -> tuple[str, ...]:
        if passes != PASSES_OF_SYSTEM:
            raise ValueError("must be train_step alone for a system")
        return passes

    def case(self) -> BenchmarkCase:
        """The case."""
        return BenchmarkCase(spec=self.system.recurrent, **dict(self))


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
    if len(file.case) > MOST_CASES:
        raise InputError(f"{what}: must have at most {MOST_CASES:,} [[case]]; got {len(file.case):,}")
    cases: list[BenchmarkCase] = []
    for number, table in enumerate(file.case, 1):
        cases += _cases(table, f"{what}: case {number}")
        if len(cases) > MOST_CASES:
            raise InputError(f"{what}: must mean at most {MOST_CASES:,} cases; case {number} makes {len(cases):,}")
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
    """The content of a set's file, checked."""
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise InputError(f"{what}: must be at most {LARGEST_FILE:,} bytes; got {size:,}")
        text = path.read_text(encoding="utf-8")
        if DEEP_KEY.search(text):
            raise InputError(f"{what}: must have keys of at most {MOST_PARTS} parts; got one of more")
        return SetFile.model_validate(tomllib.loads(text))
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
    """The cases of one table."""
    try:
        if "system" in table:
            system = model_from_json(table["system"], f"{what}: system")
            return [SystemTable.model_validate(table | {"system": system}).case()]
        content = CaseTable.model_validate(table)
        many = content.count()
        if many > MOST_CASES:
            raise InputError(f"{what} must mean at most {MOST_CASES:,} cases; got lists that make {many:,}")
        if content.name is not None and many > 1:
            raise InputError(f"{what}: name must be left out where lists make {many} cases; got {shown(content.name)}")
        return list(content.cases())
    except ValidationError as error:
        raise from_validation(error, what) from None
