"""Checkpoints: a model's parameters under their canonical names, how far training came, and how to read its answers.

One safetensors file: each parameter under its canonical name (``common.models.specification.parameters``), each array
of the optimizer's state as ``optimizer.<name>``, float64; the metadata key ``birnn.checkpoint`` is a JSON object.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from common.errors import InputError, from_validation
from common.models.specification import Arrays, Model, model_from_json, parameters
from common.tensorfile import as_bytes, read, write_bytes

METADATA_KEY = "birnn.checkpoint"
VERSION = 1
STATE = "optimizer."


class CheckpointHeader(BaseModel):
    """The metadata of a checkpoint.

    ``task`` is its name; ``model`` the specification; ``vocabularies`` turn ids into words and labels;
    ``fingerprint`` of all that training depends on; ``epoch`` how many are done; ``trace`` loss, accuracy and gradient
    norm of every step so far; ``accuracies`` on the held-out examples after each epoch.
    """

    model_config = ConfigDict(extra="forbid")

    version: int
    task: str
    model: dict[str, Any]
    vocabularies: dict[str, Any]
    fingerprint: str
    implementation: str
    dtype: str
    versions: dict[str, str]
    epoch: int
    trace: list[tuple[float, float, float]]
    accuracies: list[float]


@dataclass(frozen=True)
class Checkpoint:
    """A header, the model's specification made of it, its parameters and its optimizer's state, float64."""

    header: CheckpointHeader
    spec: Model
    weights: Arrays
    state: Arrays


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint, whole or not at all; an ``InputError`` says why it cannot be written (a full disk, say)."""
    tensors = checkpoint.weights | {f"{STATE}{name}": value for name, value in checkpoint.state.items()}
    write_bytes(path, as_bytes(tensors, {METADATA_KEY: checkpoint.header.model_dump_json()}))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and check a checkpoint.

    Raises
    ------
    InputError
        If the file is not safetensors, no checkpoint, of a newer version, or its tensors do not fit its model.
    """
    tensors, metadata = read(path)
    if METADATA_KEY not in metadata:
        raise InputError(f"{path}: must be a checkpoint of birnn train, with the metadata key {METADATA_KEY!r}")
    try:
        content = json.loads(metadata[METADATA_KEY])
    except ValueError as error:
        raise InputError(f"{path}: {METADATA_KEY} must be JSON; got {error}") from None
    if isinstance(content, dict) and isinstance(content.get("version"), int) and content["version"] > VERSION:
        raise InputError(f"{path}: must have version {VERSION} at most; got {content['version']}: upgrade birnn")
    try:
        header = CheckpointHeader.model_validate(content)
    except ValidationError as error:
        raise from_validation(error, f"{path}: {METADATA_KEY}") from None
    spec = model_from_json(header.model, f"{path}: model")
    weights = {name: value for name, value in tensors.items() if not name.startswith(STATE)}
    check_weights(spec, weights, path)
    state = {name.removeprefix(STATE): value for name, value in tensors.items() if name.startswith(STATE)}
    return Checkpoint(header, spec, {name: weights[name] for name in parameters(spec)}, state)


def check_weights(spec: Model, weights: Arrays, path: Path) -> None:
    """Raise an ``InputError`` when the tensors of a file are not the parameters of a model."""
    expected = parameters(spec)
    for name in (*expected, *weights):
        if name not in weights:
            raise InputError(f"{path}: must have the parameter {name!r}; it is missing")
        if name not in expected:
            raise InputError(f"{path}: must have the parameters of its model alone; got {name!r}")
        if weights[name].shape != expected[name] or weights[name].dtype != np.float64:
            found = f"{weights[name].dtype} {weights[name].shape}"
            raise InputError(f"{path}: {name} must be float64 {expected[name]}; got {found}")
        if not np.isfinite(weights[name]).all():
            raise InputError(f"{path}: {name} must be finite; training has diverged")
