"""What is known of a checkpoint besides what its file tells: a user's ``--spec``, and what a conversion left beside it.

A conversion writes ``<file>.birnn.json`` beside a file of a format that cannot hold all that is known: the
specification of each layer, which layers of the file it is made of, and the header of a checkpoint of ``birnn train``.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from common.checkpoints.contents import (
    ACTIVATIONS,
    Contents,
    PlainLayer,
    RecurrentKind,
    RecurrentLayer,
    joined,
    kind_of,
    parts_of,
)
from common.checkpoints.limits import MOST_HEADER
from common.checkpoints.opening import format_of, read_checkpoint_file
from common.checkpoints.table import FORMATS
from common.checkpoints.two_layers import SIDES, with_two_joined
from common.errors import InputError, shown
from common.specification import CELLS, MERGES, specification_from_json
from common.tensorfile import json_from_text

VALUES: dict[str, tuple[Any, ...]] = {
    "cell": CELLS,
    "activation": ACTIVATIONS,
    "reset_after": (True, False),
    "merge": MERGES,
    "kind": ("embedding", "dense"),
}
"""The keys of ``--spec`` and what each may be."""
VERSION = 1
"""The version of what is written beside a file."""
NEW_NANOSECONDS = 2 * 10**9
"""For so long a file counts as new; file systems' clocks tick every few milliseconds, some every second."""


def read_known(path: Path, spec: Path | None = None) -> Contents:
    """What a checkpoint holds, with what lies beside it and what ``spec`` says.

    Raises
    ------
    InputError
        If either contradicts the file, or is about what it has not.
    """
    contents = read_checkpoint_file(path, format_of(path))
    beside = beside_of(path)
    if beside.exists():
        contents = _with_beside(contents, _beside(beside, path), beside)
    if spec is not None:
        contents = _with_spec(contents, _json(spec), spec)
    return contents


def beside_of(path: Path) -> Path:
    """Where a conversion leaves what a file cannot hold."""
    return path.with_name(f"{path.name}.birnn.json")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal; of a folder, of its files' names and hashes, in their order."""
    if path.is_dir():
        digest = hashlib.sha256()
        for each in sorted(each for each in path.rglob("*") if each.is_file()):
            digest.update(f"{each.relative_to(path)} {sha256_of(each)}\n".encode())
        return digest.hexdigest()
    known = path.stat()
    # One that has only now been written could be written again before its times show it.
    is_new = time.time_ns() - max(known.st_mtime_ns, known.st_ctime_ns) < NEW_NANOSECONDS
    hashed = _sha256_of_file.__wrapped__ if is_new else _sha256_of_file
    return hashed(path, (known.st_ino, known.st_size, known.st_mtime_ns, known.st_ctime_ns))


@lru_cache(maxsize=64)
def _sha256_of_file(path: Path, identity: tuple[int, ...]) -> str:
    """SHA-256 of a file as it is, of which a conversion asks several times; a large one takes as long as a copy."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _json(path: Path) -> Any:
    """A file's JSON, which must be small."""
    try:
        if path.stat().st_size > MOST_HEADER:
            raise InputError(f"{path}: must have at most {MOST_HEADER:,} bytes")
        return json_from_text(path.read_text(), str(path))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: must be JSON in UTF-8; got {error.reason}") from None
    except OSError as error:
        raise InputError(f"{path}: must be a JSON file; got: {error.strerror}") from None


# --spec.


def _with_spec(contents: Contents, content: Any, spec: Path) -> Contents:
    """The contents with what ``--spec`` says: of all layers that a key concerns, and of layers by their names."""
    if not isinstance(content, dict):
        raise InputError(f"{spec}: must be a JSON object; got {shown(content)}")
    named = {key: value for key, value in content.items() if isinstance(value, dict)}
    contents = with_two_joined(contents, named, spec)
    for name in named:
        if name not in contents.layers:
            raise InputError(f"{spec}: must name layers of the file ({', '.join(contents.layers)}); got {shown(name)}")
    general = {key: value for key, value in content.items() if key not in named}
    named = {name: {key: value for key, value in each.items() if key not in SIDES} for name, each in named.items()}
    layers: dict[str, RecurrentLayer | PlainLayer] = {}
    for name, layer in contents.layers.items():
        what = f"{spec}: the layer {name}"
        for key, value in (_checked(general, spec) | _checked(named.get(name, {}), spec)).items():
            explicit = key in named.get(name, {})
            if isinstance(layer, RecurrentLayer) and key != "kind":
                layer = replace(layer, kind=filled(layer.kind, key, value, what, contents.format, explicit))
            elif isinstance(layer, PlainLayer) and key == "kind":
                layer = as_kind(layer, value, what)
            elif explicit:
                raise InputError(f"{what} must be left without {key}: it is a {_noun(layer)}, which has none")
        layers[name] = layer
    return replace(contents, layers=layers)


def _noun(layer: RecurrentLayer | PlainLayer) -> str:
    """What a layer is, in a word."""
    return "recurrent layer" if isinstance(layer, RecurrentLayer) else layer.kind


def _checked(content: Mapping[str, Any], spec: Path) -> dict[str, Any]:
    """The keys and values of a ``--spec``, if each is one of ``VALUES``."""
    for key, value in content.items():
        if key not in VALUES:
            raise InputError(f"{spec}: keys must be {', '.join(VALUES)} or layers' names; got {shown(key)}")
        if not any(value is each or (isinstance(value, str) and value == each) for each in VALUES[key]):
            allowed = ", ".join(json.dumps(each) for each in VALUES[key])
            raise InputError(f"{spec}: {key} must be one of {allowed}; got {shown(value)}")
    return dict(content)


def filled(
    kind: RecurrentKind, key: str, value: Any, what: str, format_name: str, explicit: bool = True
) -> RecurrentKind:
    """A kind with one more key said; a key that does not concern it is an error where it was said of it alone."""
    if key == "cell":
        gates, _, activation = value.partition("_")
        if gates != kind.gates:
            raise InputError(f"{what}: cell must be {kind.cell} as its file says; got {value}")
        return filled(kind, "activation", activation, what, format_name) if activation else kind
    concerned = {"activation": True, "reset_after": kind.gates == "gru", "merge": kind.directions == 2}[key]
    if not concerned:
        if explicit:
            raise InputError(f"{what} must be left without {key}: it is {kind}, which has none")
        return kind
    there = getattr(kind, key)
    loose = key == "merge" and FORMATS[format_name].loose_merge and kind.num_layers == 1
    if there not in (None, value) and not loose:
        raise InputError(f"{what}: {key} must be {json.dumps(there)} as its file says; got {json.dumps(value)}")
    if key == "merge" and value != "concat" and kind.hidden_size_reverse is not None:
        raise InputError(f"{what}: merge must be concat for directions of different sizes; got {value}")
    return replace(kind, **{key: value})


def as_kind(layer: PlainLayer, kind: str, what: str) -> PlainLayer:
    """A layer of which it is said what it is, where its tensors can be that."""
    weight = layer.arrays.get("weight")
    fits = weight is not None and weight.ndim == 2 and set(layer.arrays) == {"weight"}
    if layer.kind == kind or (layer.kind == "tensor" and fits):
        return replace(layer, kind=kind)  # type: ignore[arg-type]
    raise InputError(f"{what}: kind must be {layer.kind} as its tensors say; got {kind}")


# What lies beside.


def beside(contents: Contents, format_name: str, sha256: str) -> dict[str, Any]:
    """What is known of contents that are written in a format, as the JSON object that lies beside the file."""
    layers: dict[str, Any] = {}
    for layer in contents.layers.values():
        if isinstance(layer, PlainLayer):
            layers[layer.name] = {"kind": layer.kind}
        else:
            layers[layer.name] = {
                "specification": layer.kind.specification().as_json(),
                "parts": parts_in(layer, format_name),
            }
    return {"version": VERSION, "sha256": sha256, "layers": layers, "checkpoint": contents.checkpoint}


def parts_in(layer: RecurrentLayer, format_name: str) -> list[str]:
    """The names that a layer's parts have in a format: one, or one for each layer of a stack."""
    whole = FORMATS[format_name].stacks and layer.kind.merge in (None, "concat")
    if format_name == "birnn" or whole:
        return [layer.name]
    return [part.name for part in parts_of(layer)]


def parts_in_file(path: Path, contents: Contents) -> dict[str, list[str]]:
    """The names that the parts of each recurrent layer have in a file that was read: by what lies beside it, or one."""
    there = beside_of(path)
    entries = _beside(there, path)["layers"] if there.exists() else {}
    return {layer.name: entries.get(layer.name, {}).get("parts", [layer.name]) for layer in contents.recurrent}


def _beside(path: Path, file: Path) -> dict[str, Any]:
    """What a conversion left beside a file, if it is about the file as it is now."""
    content = _json(path)
    if (
        not isinstance(content, dict)
        or content.get("version") != VERSION
        or not isinstance(content.get("layers"), dict)
    ):
        raise InputError(f"{path}: must be a JSON object with version {VERSION} and layers, as a conversion writes")
    if content.get("sha256") != sha256_of(file):
        raise InputError(f"{path}: must be about {file.name} as it is; that has changed since: remove one of them")
    return content


def _with_beside(contents: Contents, content: dict[str, Any], where: Path) -> Contents:
    """The contents with what a conversion left beside them: each layer again as it was before."""
    rest = dict(contents.layers)
    layers: dict[str, RecurrentLayer | PlainLayer] = {}
    for name, entry in content["layers"].items():
        what = f"{where}: the layer {name}"
        if not isinstance(entry, dict):
            raise InputError(f"{what} must be a JSON object")
        if "specification" not in entry:
            layers[name] = _plain(name, entry, rest, what)
            continue
        kind = kind_of(specification_from_json(_object(entry["specification"], what), what))
        names = entry.get("parts")
        if not isinstance(names, list) or not names or not all(isinstance(each, str) for each in names):
            raise InputError(f"{what} must have the names of its parts")
        parts = [_part(each, rest, what) for each in names]
        layers[name] = _recurrent(name, kind, parts, contents.format, what)
    header = content.get("checkpoint")
    if header is not None and not isinstance(header, dict):
        raise InputError(f"{where}: checkpoint must be a JSON object")
    return replace(contents, layers=layers | rest, notes=(), checkpoint=header)


def _object(content: Any, what: str) -> dict[str, Any]:
    """A JSON object, where a layer's specification must be one."""
    if not isinstance(content, dict):
        raise InputError(f"{what} must have a JSON object as its specification; got {shown(content)}")
    return content


def _plain(name: str, entry: Mapping[str, Any], rest: dict[str, Any], what: str) -> PlainLayer:
    """A layer around the recurrent ones, taken out of the ``rest``, with the kind that it had before."""
    layer = rest.pop(name, None)
    if not isinstance(layer, PlainLayer):
        raise InputError(f"{what} must be in the file, and not recurrent there")
    kind = entry.get("kind")
    return as_kind(layer, kind, what) if isinstance(kind, str) and kind in VALUES["kind"] else layer


def _part(name: str, rest: dict[str, Any], what: str) -> RecurrentLayer:
    """A recurrent layer, taken out of the ``rest``."""
    layer = rest.pop(name, None)
    if not isinstance(layer, RecurrentLayer):
        raise InputError(f"{what} must have its part {shown(name)} in the file, a recurrent layer")
    return layer


def _recurrent(
    name: str, kind: RecurrentKind, parts: list[RecurrentLayer], format_name: str, what: str
) -> RecurrentLayer:
    """The layer of a kind that a file's layers were made of, if they can be its parts."""
    single = [RecurrentLayer(name, kind, {})] if len(parts) == 1 else [None] * kind.num_layers
    if len(single) != len(parts):
        raise InputError(f"{what} must have {kind.num_layers} parts, or one; got {len(parts)}")
    known = []
    for k, part in enumerate(parts):
        width = kind.input_size if len(parts) == 1 else kind.layer_input_size(k)
        wanted = replace(kind, num_layers=part.kind.num_layers, input_size=width)
        actual = part.kind
        for key, value in _told(kind):
            actual = filled(actual, key, value, what, format_name)
        if actual.bias and not kind.bias:
            if any(value.any() for weight, value in part.weights.items() if weight.startswith("bias")):
                raise InputError(f"{what} must have biases of zeros, for it has none; got others")
            part = replace(part, weights={n: v for n, v in part.weights.items() if not n.startswith("bias")})
            actual = replace(actual, bias=False)
        if actual != wanted or (len(parts) == 1 and actual.num_layers != kind.num_layers):
            raise InputError(f"{what} must be {wanted} as it was written; the file has {actual}")
        known.append(replace(part, kind=actual))
    return replace(known[0], name=name, kind=kind) if len(parts) == 1 else joined(name, kind, known)


def _told(kind: RecurrentKind) -> Iterator[tuple[str, Any]]:
    """The keys that a whole specification has."""
    yield "activation", kind.activation
    if kind.gates == "gru":
        yield "reset_after", kind.reset_after
    if kind.directions == 2:
        yield "merge", kind.merge
