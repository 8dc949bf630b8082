"""What ``birnn convert`` does: read, judge each layer, write, and prove."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from backends.pool.pool import Pool
from backends.studies.conversions import DIFFERENT, NOT_RUN, SAME, Proof, Side, prove
from benchmarks.measure.runs import suite_version
from birnn import exit_codes
from birnn.display import say_written, stderr, stdout
from common.checkpoints.contents import Contents
from common.checkpoints.converting import IMPOSSIBLE, LayerVerdict, judged, kept, renamed, require_told
from common.checkpoints.proof_case import LENGTHS, SEED
from common.checkpoints.table import FORMATS, format_for
from common.checkpoints.told import beside, beside_of, parts_in, parts_in_file, read_known, sha256_of
from common.errors import InputError, shown
from common.output import write_file
from common.tensorfile import write_bytes

COLOURS = {"exact": "green", "re-parameterised": "yellow", "impossible": "red", "left out": "dim"}
"""The colour of each thing that may become of a layer."""


@dataclass(frozen=True)
class Asked:
    """The arguments of ``birnn convert``."""

    source: Path
    target: Path
    to: str | None
    layers: tuple[str, ...]
    spec: Path | None
    only_rnn: bool
    prove: bool
    force: bool
    timeout_seconds: float


def convert(asked: Asked) -> int:
    """Convert, print and write; the exit code."""
    target = format_for(asked.target, asked.to)
    _check_target(asked)
    names = _names(asked.layers)
    read = read_known(asked.source, asked.spec)
    require_told(read)
    contents = renamed(read, names)
    verdicts = judged(contents, target, asked.only_rnn)
    print_verdicts(verdicts)
    if any(each.verdict == IMPOSSIBLE for each in verdicts):
        stderr().print(f"birnn: nothing is written: {target} cannot hold all of {asked.source}", markup=False)
        return exit_codes.WRONG
    contents = kept(contents, verdicts)
    if not contents.layers:
        raise InputError(f"{asked.source}: must have a layer to convert; it has none")
    with ThreadPoolExecutor(1) as beside_writing:
        source_sha256 = beside_writing.submit(sha256_of, asked.source)
        hashes = {"target": write_checkpoint_file(contents, target, asked.target), "source": source_sha256.result()}
    say_written(asked.target, target)
    certificate = certificate_of(asked, read.format, target, hashes, verdicts)
    if not asked.prove:
        _write_certificate(asked, certificate | {"why_not": "--no-prove"})
        return exit_codes.AGREED
    with Pool.open() as pool, stderr().status("running both files in their frameworks"):
        proof = prove(pool, *_sides(asked, read, contents, target), _sources(contents, asked), asked.timeout_seconds)
    _write_certificate(asked, certificate | proof_as_json(proof))
    print_proof(proof)
    return exit_codes.decide(wrong=proof.wrong, broken=False, checked=proof.proved)


def _sides(asked: Asked, read: Contents, contents: Contents, target: str) -> tuple[Side, Side]:
    """Both sides of a conversion, as the proof runs them."""
    parts = {layer.name: parts_in(layer, target) for layer in contents.recurrent}
    source = Side("source", asked.source, read.format, read, parts_in_file(asked.source, read))
    return source, Side("target", asked.target, target, contents, parts)


def _sources(contents: Contents, asked: Asked) -> dict[str, str]:
    """The source's names of the recurrent layers that were written."""
    old = {new: name for name, new in _names(asked.layers).items()}
    return {layer.name: old.get(layer.name, layer.name) for layer in contents.recurrent}


def certificate_of(
    asked: Asked, source: str, target: str, hashes: Mapping[str, str], verdicts: Sequence[LayerVerdict]
) -> dict[str, Any]:
    """What a certificate says before anything was run: the files with their formats and SHA-256 (``hashes``, of source
    and target), and what became of each layer.
    """
    files = {"source": (asked.source, source), "target": (asked.target, target)}
    return {
        "version": 1,
        "birnn": suite_version(),
        "proved": False,
        **{
            name: {"file": path.name, "format": format_name, "sha256": hashes[name]}
            for name, (path, format_name) in files.items()
        },
        "verdicts": [vars(each) for each in verdicts],
    }


def _write_certificate(asked: Asked, content: dict[str, Any]) -> None:
    """Write what was proved, or was not, beside the target."""
    path = asked.target.with_name(f"{asked.target.name}.proof.json")
    write_bytes(path, json_bytes(content))
    say_written(path, "the certificate" if content["proved"] else "what was not proved")


def proof_as_json(proof: Proof) -> dict[str, Any]:
    """The part of a certificate that tells what was run."""
    layers = [
        {"layer": each.layer, "source": vars(each.source), "target": vars(each.target), "between": each.between}
        for each in proof.layers
    ]
    case = {"lengths": list(LENGTHS), "seed": SEED}
    return {
        "proved": proof.proved,
        "versions": proof.versions,
        "case": case,
        "layers": layers,
        "others": proof.plain,
    }


def print_proof(proof: Proof) -> None:
    """A table of the layers' two sides, then what went wrong or was not run."""
    console = stdout()
    table = Table("layer", "source", "target", "each other", "worst rms / max")
    for each in proof.layers:
        sides = [side for side in (each.source, each.target) if side.rms is not None and side.max is not None]
        numbers = [f"{side.rms:.2g} / {side.max:.2g}" for side in sides]
        table.add_row(escape(each.layer), each.source.status, each.target.status, each.between, ", ".join(numbers))
    for name, status in proof.plain.items():
        table.add_row(escape(name), "", "", status if status in (SAME, DIFFERENT) else NOT_RUN, "")
    console.print(table)
    for each in proof.layers:
        for where, side in (("source", each.source), ("target", each.target)):
            text = "; ".join(filter(None, [side.reason, f"matches: {side.matches}" if side.matches else ""]))
            if text:
                console.print(f"{each.layer}, {where}: {side.status}: {text}", markup=False, soft_wrap=True)
    verdict = "proved" if proof.proved else "WRONG: do not use the target" if proof.wrong else "not proved"
    console.print(verdict, markup=False)


def write_checkpoint_file(contents: Contents, target: str, path: Path, *, durable: bool = True) -> str:
    """Write contents in a format, and beside it what the format cannot hold; the SHA-256 of the file."""
    held = FORMATS[target]
    if held.write_folder is not None and not path.suffix:
        held.write_folder(contents, path)
    else:
        write_file(path, lambda file: held.write(contents, file), durable=durable)
    sha256 = sha256_of(path)
    if target == "birnn":
        beside_of(path).unlink(missing_ok=True)
    else:
        write_bytes(beside_of(path), json_bytes(beside(contents, target, sha256)), durable=durable)
    return sha256


def json_bytes(content: Any) -> bytes:
    """An object as the bytes of a JSON file."""
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def print_verdicts(verdicts: Sequence[LayerVerdict]) -> None:
    """A table of the layers, then the reasons and what is left to the program."""
    console = stdout()
    table = Table("layer", "what it is", "verdict")
    for each in verdicts:
        colour = COLOURS[each.verdict]
        table.add_row(escape(each.layer), escape(each.what), f"[{colour}]{each.verdict}[/{colour}]")
    console.print(table)
    for each in verdicts:
        for text in (*each.reasons, *each.notes):
            console.print(f"{each.layer}: {text}", markup=False, soft_wrap=True)


def _names(layers: Sequence[str]) -> dict[str, str]:
    """The new names of layers, read from ``NAME=NEW``."""
    names = {}
    for text in layers:
        name, equals, new = text.partition("=")
        if not equals or not name or not new:
            raise InputError(f"--layer must be NAME=NEW; got {shown(text)}")
        names[name] = new
    return names


def _check_target(asked: Asked) -> None:
    """Raise an ``InputError`` for a target that is there already, or is the source."""
    if asked.target.exists() and not asked.force:
        raise InputError(f"{asked.target}: must not be there; --force replaces it")
    if asked.target.exists() and asked.source.exists() and asked.target.samefile(asked.source):
        raise InputError(f"{asked.target}: must be another file than {asked.source}, which it is made of")
