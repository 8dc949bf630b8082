"""A case: a specification with inputs, weights and, where there are any, cotangents and expected tensors."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictStr,
    ValidationError,
    model_validator,
)

from common import tensorfile
from common.errors import InputError, from_validation, shown
from common.reference import step_mask
from common.specification import NOT_A_BOOL, FileVersion, Specification
from common.weights import shapes

METADATA_KEY = "birnn.case"
"""The key of a case's header in its file's metadata."""
LONGEST_NAME = 255
"""Characters of the longest name that a case may have."""
NEWER = {2: "the merge weighted and for hidden_size_reverse", 3: "num_directions 1"}
"""What each version of the file knows that the one before does not. A file is of the first that can say what it holds,
so that readers of older versions read all that they can."""
NOT_FINITE = (np.nan, np.inf, -np.inf)
"""The numbers that are not finite."""
HUGE = (6e4, -3e38, 1e300)
"""Finite in float16, float32 and float64, and each so large that products overflow there."""
Tolerance = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A tolerance, finite and not below 0."""


def _names_a_folder(name: str) -> str:
    """Let through what fits into a file system's 255 bytes for a name."""
    size = len(name.encode())
    if size > LONGEST_NAME:
        raise ValueError(f"must have at most {LONGEST_NAME} bytes in UTF-8 (it has {size})")
    return name


Name = Annotated[
    str, Field(strict=True, pattern=r"^[^./\x00-\x1f][^/\x00-\x1f]{0,99}$"), AfterValidator(_names_a_folder)
]
"""The name of a case, which is a part of file names."""


class CaseHeader(BaseModel):
    """The metadata of a case file."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[FileVersion, NOT_A_BOOL]
    name: Name
    source: StrictStr
    spec: Specification
    atol: Tolerance
    rtol: Tolerance

    @model_validator(mode="after")
    def _version_knows_its_options(self) -> CaseHeader:
        needed = self.spec.file_version
        if self.version < needed:
            raise ValueError(f"must have version {needed} for {NEWER[needed]} (it has {self.version})")
        return self


@dataclass(frozen=True)
class Case:
    """What to run. Arrays are float64, ``lengths`` int64; shapes are those of the case file (docs/formats.md). All are
    finite, but ``x`` past a row's length may hold anything.

    ``atol`` and ``rtol`` are for ``expected``, whose NaNs mean: not checked. ``cotangents`` may hold ``output``,
    ``h_n`` and ``c_n``; with any of them, gradients of the sum of products are wanted.
    """

    name: str
    source: str
    spec: Specification
    x: np.ndarray
    weights: dict[str, np.ndarray]
    lengths: np.ndarray | None = None
    h_0: np.ndarray | None = None
    c_0: np.ndarray | None = None
    cotangents: dict[str, np.ndarray] = field(default_factory=dict)
    expected: dict[str, np.ndarray] = field(default_factory=dict)
    atol: float = 0.0
    rtol: float = 0.0
    file_sha256: str | None = None

    @property
    def batch(self) -> int:
        """Rows of the batch."""
        return self.x.shape[0]

    @property
    def seq_len(self) -> int:
        """Steps of the padded input."""
        return self.x.shape[1]

    @property
    def state_names(self) -> tuple[str, ...]:
        """``("h", "c")`` for an LSTM, else ``("h",)``."""
        return ("h", "c") if self.spec.cell == "lstm" else ("h",)

    def initial_state(self, name: str) -> np.ndarray:
        """``h_0`` or ``c_0`` (num_layers·num_directions, batch, state_size), zeros where the case gives none."""
        given = {"h": self.h_0, "c": self.c_0}[name]
        return np.zeros(result_shapes(self.spec, self.batch, self.seq_len)["h_n"]) if given is None else given

    def full_cotangents(self) -> dict[str, np.ndarray]:
        """All cotangents of the case's results, zeros where it gives none; empty when it gives none at all."""
        if not self.cotangents:
            return {}
        shapes = result_shapes(self.spec, self.batch, self.seq_len)
        names = ["output", *(f"{state}_n" for state in self.state_names)]
        return {name: self.cotangents.get(name, np.zeros(shapes[name])) for name in names}

    def without_gradients(self) -> Case:
        """A copy that asks for no gradients: without cotangents and expected gradients; its file's hash stays."""
        expected = {name: value for name, value in self.expected.items() if not name.startswith("grad.")}
        return replace(self, cotangents={}, expected=expected)

    def padding_mask(self) -> np.ndarray:
        """(batch, seq_len) bool, true where a step is padding."""
        return ~step_mask(self.lengths, self.batch, self.seq_len)

    def with_padding(self, rng: np.random.Generator, scale: float) -> Case:
        """A copy with numbers from N(0, scale²) in the padding of ``x``."""
        garbage = rng.normal(scale=scale, size=self.x.shape)
        x = np.where(self.padding_mask()[..., None], garbage, self.x)
        return replace(self, x=x, file_sha256=None)

    def with_nonfinite_padding(self, rng: np.random.Generator, scale: float) -> Case:
        """A copy with NaN, infinities and huge numbers scattered over the padding of ``x``, and numbers from N(0,
        scale²) in a third of it; every step has a NaN, so that reading any of them shows.
        """
        padding = self.padding_mask()
        case = self.with_padding(rng, scale)
        kinds = np.array([*NOT_FINITE, *HUGE])
        ordinary = np.zeros(len(kinds) // 2)  # stand for the numbers that are there already
        steps = case.x[padding]  # (padding steps, input_size)
        scattered = rng.permutation(np.resize(np.concatenate([kinds, ordinary]), steps.size)).reshape(steps.shape)
        steps = np.where(scattered == 0, steps, scattered)
        steps[np.arange(len(steps)), rng.integers(self.spec.input_size, size=len(steps))] = np.nan
        case.x[padding] = steps
        return case

    def as_bytes(self) -> bytes:
        """The case as the bytes of its file."""
        return tensorfile.as_bytes(self.tensors(), {METADATA_KEY: json.dumps(self._header())})

    def sha256(self) -> str:
        """SHA-256 of the file that the case was read from, or of the file it would be, hexadecimal."""
        return self.file_sha256 or hashlib.sha256(self.as_bytes()).hexdigest()

    def _header(self) -> dict[str, Any]:
        """The header as it is written."""
        return {
            "version": self.spec.file_version,
            "name": self.name,
            "source": self.source,
            "spec": self.spec.as_json(),
            "atol": self.atol,
            "rtol": self.rtol,
        }

    def tensors(self) -> dict[str, np.ndarray]:
        """Every tensor of the case file, by its name there."""
        inputs = {"x": self.x, "lengths": self.lengths, "h_0": self.h_0, "c_0": self.c_0}
        tensors = {f"inputs.{name}": value for name, value in inputs.items() if value is not None}
        for prefix, group in (("weights", self.weights), ("cotangents", self.cotangents), ("expected", self.expected)):
            tensors |= {f"{prefix}.{name}": value for name, value in group.items()}
        return tensors


def result_shapes(spec: Specification, batch: int, seq_len: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that a result of ``spec`` can hold, gradients included."""
    state = (spec.num_layers * spec.num_directions, batch, spec.state_size)
    states = ("h", "c") if spec.cell == "lstm" else ("h",)
    tensors: dict[str, tuple[int, ...]] = {"output": (batch, seq_len, spec.output_size)}
    tensors |= {f"{name}_n": state for name in states}
    tensors["grad.x"] = (batch, seq_len, spec.input_size)
    tensors |= {f"grad.{name}_0": state for name in states}
    return tensors | {f"grad.{name}": shape for name, shape in shapes(spec).items()}


def write_case(case: Case, path: Path, *, durable: bool = True) -> None:
    """Write a case file as ``write_bytes`` does; an ``InputError`` says why it cannot be written, or not be read."""
    _checked(path, case._header())
    tensorfile.write_bytes(path, case.as_bytes(), durable=durable)


def read_case(path: Path) -> Case:
    """Read and check a case file.

    Raises
    ------
    InputError
        If the file is not safetensors, its header does not fit, a tensor is unknown or missing, has the wrong dtype or
        shape, or is not finite where it must be; one sentence that names the file.
    """
    tensors, metadata = tensorfile.read(path)
    header = _read_header(path, metadata)
    spec = header.spec
    groups = _grouped(path, tensors)
    x = groups["inputs"].get("x")
    if x is None:
        raise InputError(f"{path}: must have the tensor 'inputs.x'; it is missing")
    if x.ndim != 3 or x.shape[2] != spec.input_size or 0 in x.shape:
        raise InputError(
            f"{path}: inputs.x must have shape (batch, seq_len, {spec.input_size}) with nothing empty; got {x.shape}"
        )
    _check_tensors(path, spec, groups)
    return Case(
        name=header.name,
        source=header.source,
        spec=spec,
        x=x,
        lengths=groups["inputs"].get("lengths"),
        h_0=groups["inputs"].get("h_0"),
        c_0=groups["inputs"].get("c_0"),
        weights={name: groups["weights"][name] for name in shapes(spec)},
        cotangents=groups["cotangents"],
        expected=groups["expected"],
        atol=header.atol,
        rtol=header.rtol,
        file_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def _read_header(path: Path, metadata: dict[str, str]) -> CaseHeader:
    """The header in a file's metadata, checked."""
    return _checked(path, tensorfile.json_metadata(path, metadata, METADATA_KEY))


def _checked(path: Path, content: Any) -> CaseHeader:
    """The content as a header; an ``InputError`` where it is none."""
    try:
        return CaseHeader.model_validate(content)
    except ValidationError as error:
        raise from_validation(error, f"{path}: {METADATA_KEY}") from None


def _grouped(path: Path, tensors: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """The tensors of a file by what they are for, under their names without the prefix."""
    groups: dict[str, dict[str, np.ndarray]] = {"inputs": {}, "weights": {}, "cotangents": {}, "expected": {}}
    for name, value in tensors.items():
        group, _, rest = name.partition(".")
        if group not in groups:
            raise InputError(f"{path}: tensors must be named {', '.join(f'{g}.*' for g in groups)}; got {shown(name)}")
        groups[group][rest] = value
    return groups


def _check_tensors(path: Path, spec: Specification, groups: dict[str, dict[str, np.ndarray]]) -> None:
    """Raise an ``InputError`` for a tensor that is missing, misshapen, or not the specification's."""
    batch, seq_len = groups["inputs"]["x"].shape[:2]
    results = result_shapes(spec, batch, seq_len)
    states = [name for name in results if name in ("h_n", "c_n")]
    initial = {name.replace("_n", "_0"): results[name] for name in states}
    allowed: dict[str, dict[str, tuple[int, ...]]] = {
        "inputs": {"x": (batch, seq_len, spec.input_size), "lengths": (batch,), **initial},
        "weights": shapes(spec),
        "cotangents": {name: results[name] for name in ("output", *states)},
        "expected": results,
    }
    for group, arrays in groups.items():
        for name, value in arrays.items():
            _check_tensor(path, f"{group}.{name}", value, allowed[group].get(name))
    for state in initial:
        if state in groups["inputs"]:
            _check_units(path, spec, state, groups["inputs"][state])
    for name in shapes(spec):
        if name not in groups["weights"]:
            raise InputError(f"{path}: must have the tensor 'weights.{name}'; it is missing")
    lengths = groups["inputs"].get("lengths")
    _check_lengths(path, lengths, seq_len)
    real = step_mask(lengths, batch, seq_len)[..., None]
    for group, arrays in groups.items():
        for name, value in arrays.items():
            _check_finite(path, f"{group}.{name}", value, real)
    gradients = [name for name in groups["expected"] if name.startswith("grad.")]
    if gradients and not groups["cotangents"]:
        raise InputError(
            f"{path}: must have cotangents where gradients are expected; got expected.{gradients[0]} and none"
        )


def _check_tensor(path: Path, name: str, value: np.ndarray, shape: tuple[int, ...] | None) -> None:
    """Raise an ``InputError`` for a tensor of another dtype or shape, or that should not be there."""
    if shape is None:
        raise InputError(f"{path}: must have no tensor that its specification does not name; got {shown(name)}")
    dtype = "int64" if name == "inputs.lengths" else "float64"
    if value.dtype != dtype:
        raise InputError(f"{path}: {name} must be {dtype}; got {value.dtype}")
    if value.shape != tuple(shape):
        raise InputError(f"{path}: {name} must have shape {tuple(shape)}; got {value.shape}")


def _check_finite(path: Path, name: str, value: np.ndarray, real: np.ndarray) -> None:
    """Raise for a number that is not finite, NaN in what is expected and the padding of x apart."""
    finite = np.isfinite(value)
    if name == "inputs.x":
        finite |= ~real
    if name.startswith("expected."):
        finite |= np.isnan(value)
    if not finite.all():
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise InputError(f"{path}: {name} must be finite; got {value[index]} at {index}")


def _check_units(path: Path, spec: Specification, name: str, value: np.ndarray) -> None:
    """Raise an ``InputError`` for a state that is not 0 beyond a narrower direction's units."""
    for direction, units in enumerate(spec.hidden_sizes):
        if (value[direction :: spec.num_directions, :, units:] != 0).any():
            which = ("forward", "reverse")[direction]
            raise InputError(f"{path}: inputs.{name} must be 0 beyond the {units} units of the {which} direction")


def _check_lengths(path: Path, lengths: np.ndarray | None, seq_len: int) -> None:
    """Raise an ``InputError`` for a length below 0 or above seq_len."""
    if lengths is None:
        return
    wrong = np.flatnonzero((lengths < 0) | (lengths > seq_len))
    if wrong.size:
        row = int(wrong[0])
        raise InputError(f"{path}: inputs.lengths must lie between 0 and {seq_len}; got {lengths[row]} at row {row}")
