"""Checkpoints: a model's parameters under their canonical names, how far training came, and how to read its answers.

One safetensors file: each parameter under its canonical name (``common.models.specification.parameters``), each array
of the optimizer's state as ``optimizer.<name>``, float64; the metadata key ``birnn.checkpoint`` is a JSON object. Where
the parameters are those of an epoch before the last one, those that training goes on from are there as
``last.<parameter>``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.data.text import TOKEN_UNITS, TokenUnit
from common.data.vocabulary import labels_from_json, vocabulary_from_json
from common.errors import InputError, from_validation, shown
from common.models.specification import Arrays, Model, Seq2Seq, model_from_json, parameters
from common.tasks.stopping import best_epoch
from common.tasks.task import LANGUAGE, NAMES
from common.tensorfile import as_bytes, json_metadata, read, write_bytes
from common.weights import without_prefix

METADATA_KEY = "birnn.checkpoint"
"""The key of a checkpoint's header in its file's metadata."""
QUANTIZED_KEY = "birnn.quantized"
"""The key in the metadata of a quantized one (``common.quantization.files``), which nothing trains from."""
WITH_CRF = 4
"""The first version that has a CRF and entities."""
VERSION = WITH_VALIDATION = 5
"""The version of the format, and the first that has validation losses, or dropout in a decoder."""
STATE = "optimizer."
"""The prefix of the optimizer's arrays in the file."""
LAST = "last."
"""The prefix of the parameters after the last epoch, where an earlier one's are kept."""


class CheckpointHeader(BaseModel):
    """The metadata of a checkpoint.

    ``task`` is its name; ``model`` the specification; ``vocabularies`` turn ids into words and labels;
    ``fingerprint`` of all that training depends on; ``source`` the hash of the files that computed it, "" in older
    checkpoints; ``epoch`` how many are done; ``trace`` loss, accuracy and gradient
    norm of every step so far; ``accuracies`` on the held-out examples after each epoch, and ``perplexities`` of a
    language model, which is of version 3; no other has any; ``entities``, where labels tag such and from version 4 on:
    how many were found rightly there after each epoch, how many were found, and how many there are;
    ``validation_losses``, from version 5 on, after each epoch where training may be stopped by them.
    """

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    version: Annotated[int, Field(strict=True, ge=1)]
    task: str
    model: dict[str, Any]
    vocabularies: dict[str, Any]
    fingerprint: str
    implementation: str
    dtype: str
    versions: dict[str, str]
    source: str = ""
    epoch: Annotated[int, Field(strict=True, ge=1)]
    trace: list[tuple[float, float, float]]
    accuracies: list[float]
    perplexities: list[float] = []
    entities: list[tuple[int, int, int]] = []
    validation_losses: list[float] = []

    @property
    def best(self) -> int:
        """The epoch, from 1 on, whose parameters are kept."""
        return best_epoch(self.validation_losses) or self.epoch


@dataclass(frozen=True)
class Checkpoint:
    """A header, the model's specification made of it, its parameters and its optimizer's state, float64; ``last`` are
    the parameters after the last epoch, None where they are the same ones.
    """

    header: CheckpointHeader
    spec: Model
    weights: Arrays
    state: Arrays
    last: Arrays | None = None


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint, whole or not at all; an ``InputError`` says why it cannot be written (a full disk, say)."""
    tensors = checkpoint.weights | {f"{STATE}{name}": value for name, value in checkpoint.state.items()}
    tensors |= {f"{LAST}{name}": value for name, value in (checkpoint.last or {}).items()}
    write_bytes(path, as_bytes(tensors, {METADATA_KEY: header_json(checkpoint.header)}))


def header_json(header: CheckpointHeader) -> str:
    """The header as its JSON, without what a reader of its version may not know."""
    optional = ("perplexities", "entities", "validation_losses")
    return header.model_dump_json(exclude={name for name in optional if not getattr(header, name)})


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and check a checkpoint.

    Raises
    ------
    InputError
        If the file is not safetensors, no checkpoint, of a newer version, or its tensors do not fit its model.
    """
    tensors, metadata = read(path)
    if METADATA_KEY not in metadata:
        got = "; got a quantized one, which birnn predict and embed read" if QUANTIZED_KEY in metadata else ""
        raise InputError(f"{path}: must be a checkpoint of birnn train, with the metadata key {METADATA_KEY!r}{got}")
    return checked_checkpoint(path, json_metadata(path, metadata, METADATA_KEY), tensors)


def checked_checkpoint(path: Path, content: Any, tensors: Mapping[str, np.ndarray]) -> Checkpoint:
    """The checkpoint of a header's JSON and the tensors of a file; raises as ``read_checkpoint`` does."""
    if isinstance(content, dict) and isinstance(content.get("version"), int) and content["version"] > VERSION:
        raise InputError(f"{path}: must have version {VERSION} at most; got {content['version']}: upgrade birnn")
    try:
        header = CheckpointHeader.model_validate(content)
    except ValidationError as error:
        raise from_validation(error, f"{path}: {METADATA_KEY}") from None
    spec = model_from_json(header.model, f"{path}: model")
    if header.version < (least := version_of(spec, header.task, header.entities, header.validation_losses)):
        what = header.task if header.task == LANGUAGE else "num_directions 1"
        if least == WITH_CRF:
            what = "a CRF" if spec.head == "crf" else "entities"
        if least == WITH_VALIDATION:
            what = "validation losses" if header.validation_losses else "decoder_dropout"
        raise InputError(f"{path}: must have version {least} for {what}; got {header.version}")
    state, last = (without_prefix(prefix, tensors) for prefix in (STATE, LAST))
    weights = {name: value for name, value in tensors.items() if not name.startswith((STATE, LAST))}
    check_weights(spec, weights, path)
    if last:
        check_weights(spec, last, path, finite=False)
    _check_history(header, path)
    _check_answers(header, spec, path)
    weights = {name: weights[name] for name in parameters(spec)}
    return Checkpoint(header, spec, weights, state, last or None)


def version_of(
    spec: Model, task: str = "", entities: Sequence[tuple[int, int, int]] = (), validation_losses: Sequence[float] = ()
) -> int:
    """The first version that can hold a model of a task, and the entities and validation losses of its header."""
    if validation_losses or spec.decoder_dropout:
        return WITH_VALIDATION
    if spec.head == "crf" or entities:
        return WITH_CRF
    if task == LANGUAGE:
        return 3
    return 2 if spec.recurrent.num_directions == 1 else 1


def check_weights(spec: Model, weights: Arrays, path: Path, finite: bool = True) -> None:
    """Raise an ``InputError`` when the tensors of a file are not the parameters of a model, or not ``finite``."""
    expected = parameters(spec)
    for name in (*expected, *weights):
        if name not in weights:
            raise InputError(f"{path}: must have the parameter {name!r}; it is missing")
        if name not in expected:
            raise InputError(f"{path}: must have the parameters of its model alone; got {name!r}")
        if weights[name].shape != expected[name] or weights[name].dtype != np.float64:
            got = f"{weights[name].dtype} {weights[name].shape}"
            raise InputError(f"{path}: {name} must be float64 {expected[name]}; got {got}")
        if finite and not np.isfinite(weights[name]).all():
            raise InputError(f"{path}: {name} must be finite; training has diverged")


def _check_history(header: CheckpointHeader, path: Path) -> None:
    """Raise an ``InputError`` where epochs, held-out accuracies and steps do not go together."""
    if len(header.accuracies) != header.epoch:
        count = len(header.accuracies)
        raise InputError(f"{path}: must have a held-out accuracy for each of its {header.epoch} epochs; got {count}")
    if len(header.perplexities) != (header.epoch if header.task == LANGUAGE else 0):
        count = len(header.perplexities)
        what = f"of its {header.epoch} epochs where its task is {LANGUAGE}, and none elsewhere"
        raise InputError(f"{path}: must have a held-out perplexity for each {what}; got {count}")
    if len(header.entities) not in (0, header.epoch):
        count = len(header.entities)
        raise InputError(f"{path}: must have held-out entities for each of its {header.epoch} epochs; got {count}")
    if len(header.validation_losses) not in (0, header.epoch):
        count = len(header.validation_losses)
        raise InputError(f"{path}: must have a validation loss for each of its {header.epoch} epochs; got {count}")
    if not header.trace or len(header.trace) % header.epoch:
        count = len(header.trace)
        raise InputError(f"{path}: must have equally many steps in each of its {header.epoch} epochs; got {count}")


def _check_answers(header: CheckpointHeader, spec: Model, path: Path) -> None:
    """Raise an ``InputError`` where a task's answers cannot be read off its model, or its words not be put in."""
    task = header.task
    if task not in NAMES:
        raise InputError(f"{path}: task must be one of {', '.join(NAMES)}; got {shown(task)}")
    if spec.decodes != (task == "seq2seq"):
        raise InputError(f"{path}: model must be one of {task}; got one of the kind {spec.kind}")
    vocabularies = _sizes(header, path)
    if isinstance(spec, Seq2Seq):
        wanted = {"source": ("source_size", spec.source_size), "target": ("target_size", spec.target_size)}
    else:
        readout = "final" if task == "classifier" else "steps"
        if spec.readout != readout:
            raise InputError(f"{path}: model must have the readout {readout} for {task}; got {spec.readout}")
        if spec.num_embeddings is None and task in ("tagger", "masked", LANGUAGE):
            raise InputError(f"{path}: model must have num_embeddings for {task}, which reads words; it has none")
        unit = unit_of(header.vocabularies) if task in (LANGUAGE, "classifier") else "words"
        wanted = {} if spec.num_embeddings is None else {unit: ("num_embeddings", spec.num_embeddings)}
        if task in ("tagger", "classifier") or "labels" in vocabularies:
            wanted["labels"] = ("classes", spec.classes)
        if task in ("masked", LANGUAGE) and spec.classes != spec.num_embeddings:
            raise InputError(
                f"{path}: model must have a class for each of {spec.num_embeddings} {unit}; got {spec.classes}"
            )
    for name, (what, size) in wanted.items():
        if name not in vocabularies:
            raise InputError(f"{path}: vocabularies must have {name!r} for {task}; it is missing")
        if vocabularies[name] != size:
            got = vocabularies[name]
            raise InputError(f"{path}: vocabularies.{name} must have as many entries as {what}, {size}; got {got}")


def unit_of(vocabularies: Mapping[str, Any]) -> TokenUnit:
    """What the tokens of a language model or a classifier are, by the name of its vocabulary."""
    return next((unit for unit in TOKEN_UNITS if unit in vocabularies), TOKEN_UNITS[0])


def _sizes(header: CheckpointHeader, path: Path) -> dict[str, int]:
    """How many entries each vocabulary has, special ones among them."""
    sizes = {}
    for name, content in header.vocabularies.items():
        read_one = labels_from_json if name == "labels" else vocabulary_from_json
        sizes[name] = len(read_one(content, f"{path}: vocabularies.{name}"))
    return sizes
