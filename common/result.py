"""A result: the tensors that an implementation computed for a case, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from common import tensorfile
from common.errors import from_validation

METADATA_KEY = "birnn.result"
"""The key of a result's header in its file's metadata."""


class ResultHeader(BaseModel):
    """The metadata of a result file.

    ``implementation`` is ``framework/name``; ``versions`` those of the framework and its libraries; ``path`` the
    kernel or path taken, as far as it can be told; ``seconds`` the time from the call to the end of the wait for the
    device, any compilation included (not a benchmark); ``case_sha256`` the hash of the case file; ``source`` that of
    the files that computed it, "" in older results.
    """

    model_config = ConfigDict(extra="forbid")

    case: str
    case_sha256: str
    implementation: str
    dtype: str
    device: str
    versions: dict[str, str]
    source: str = ""
    path: str
    seconds: float


@dataclass(frozen=True)
class Result:
    """Tensors by name (``output``, ``h_n``, ``c_n``, ``grad.*``) with their header."""

    header: ResultHeader
    tensors: dict[str, np.ndarray]


def write_result(result: Result, path: Path, *, durable: bool = True) -> None:
    """Write a result file as ``write_bytes`` does."""
    metadata = {METADATA_KEY: result.header.model_dump_json()}
    tensorfile.write_bytes(path, tensorfile.as_bytes(result.tensors, metadata), durable=durable)


def read_header(path: Path) -> ResultHeader:
    """The header of a result file; an ``InputError`` says what is wrong with it."""
    return _header(path, tensorfile.read_metadata(path))


def read_result(path: Path) -> Result:
    """Read a result file; an ``InputError`` says what is wrong with it."""
    tensors, metadata = tensorfile.read(path)
    return Result(_header(path, metadata), tensors)


def _header(path: Path, metadata: dict[str, str]) -> ResultHeader:
    """The header in a file's metadata, checked."""
    content = tensorfile.json_metadata(path, metadata, METADATA_KEY)
    try:
        return ResultHeader.model_validate(content)
    except ValidationError as error:
        raise from_validation(error, f"{path}: {METADATA_KEY}") from None


def result_path(folder: Path, case: str, implementation: str, dtype: str) -> Path:
    """Where the result of ``framework/name`` on a case lies: ``folder/case/framework-name-dtype.safetensors``."""
    return folder / case / f"{implementation.replace('/', '-')}-{dtype}.safetensors"
