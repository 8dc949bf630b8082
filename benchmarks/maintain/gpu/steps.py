"""The steps of measuring on a GPU: seven stages, the most valuable first, each step one command of ``birnn``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backends.pool.environments import ROOT
from common.case import write_case
from common.cases.seeded import Shape, make_case
from common.specification import Specification

STAGES = {"doctor": 1.0, "verify": 6.0, "short": 12.0, "long": 3.0, "systems": 2.0, "probes": 1.0, "train": 2.0}
"""Minutes of each stage, in their order: 27 together."""
LANES = ("exact", "fast")
"""The precision lanes in which a GPU is measured."""
SEED = "13"
"""The seed of the order, the same in both lanes, so that what time allows of one it allows of the other."""
BRAUN = ("lstm-T1000-B32-I123-H320*",)
"""Braun's cases at full length, of the set standard."""
FEW = {
    "gpu": ("gru-T128-B1-I128-H128",),
    "deepbench": ("gru-T1-B32-I512-H512",),
    "systems": ("tagger-gru",),
}
"""Cases of a rehearsal, by set."""
FEW_OPTIONS = {
    "gpu": ("--passes", "forward_backward", "--implementation", "*/native*", "--implementation", "*/tuned"),
    "deepbench": ("--passes", "forward", "--implementation", "*/tuned"),
    "systems": ("--implementation", "*/tuned"),
}
"""What else a rehearsal asks of a set: it costs little where few programs are compiled."""
FEW_LANES = {"gpu": LANES, "deepbench": ("exact",), "systems": ("fast",)}
"""Lanes of a rehearsal, by set: a CPU computes the same in both, and each command costs a quarter of a minute."""
FEW_IMPLEMENTATIONS = ("native*", "tuned")
"""What a rehearsal verifies: the compilation of more takes minutes."""


@dataclass(frozen=True)
class KitOptions:
    """What every step depends on: the device, whether it is a rehearsal, the frameworks that are there, the folder."""

    device: str
    rehearse: bool
    frameworks: tuple[str, ...]
    work: Path

    @property
    def store(self) -> Path:
        """The one store of all stages."""
        return self.work / "results.duckdb"

    @property
    def rehearsal_case(self) -> Path:
        """The case file that a rehearsal verifies in place of the built-in cases."""
        return self.work / "rehearsal.safetensors"


@dataclass(frozen=True)
class KitStep:
    """One command: ``arguments`` of ``birnn``; ``label`` is that of its run in the store, "" where it measures
    nothing; the steps of one ``group`` of a stage share what is left of its time; ``finds`` says that exit code 1 is a
    finding and no failure.
    """

    stage: str
    name: str
    arguments: tuple[str, ...]
    label: str = ""
    group: str = ""
    finds: bool = False


def steps(options: KitOptions) -> list[KitStep]:
    """Every step in the order of its worth."""
    every = [_doctor(options), *_verify(options)]
    every += _bench(options, "short", {"gpu": ()})
    every += _bench(options, "long", {"deepbench": ()} | ({} if options.rehearse else {"standard": BRAUN}))
    every += _bench(options, "systems", {"systems": ()})
    return [*every, *_probes(options), *_train(options)]


def write_rehearsal_case(options: KitOptions) -> None:
    """Write a small case that reaches most of every implementation: two layers, lengths, states, gradients."""
    spec = Specification(cell="gru", input_size=4, hidden_size=6, num_layers=2, bias=True, merge="concat")
    shape = Shape(batch=3, seq_len=5, lengths=(5, 3, 1))
    case = make_case(
        "rehearsal", spec, shape, seed=0, with_states=True, with_cotangents=True, source="made for a rehearsal"
    )
    write_case(case, options.rehearsal_case)


def _doctor(options: KitOptions) -> KitStep:
    """The step that looks at the machine."""
    arguments = ("bench", "--doctor", "--cases", "gpu", "--device", options.device, *_implementations(["*"], options))
    return KitStep("doctor", "doctor", arguments, finds=True)


def _verify(options: KitOptions) -> list[KitStep]:
    """The steps that verify: float32 in both lanes and float64, then the narrow types."""
    steps = []
    cases: tuple[str, ...] = (str(options.rehearsal_case),) if options.rehearse else ()
    kinds = [
        ("float32", "exact"),
        ("float32", "fast"),
        ("float64", "exact"),
        ("float16", "exact"),
        ("bfloat16", "exact"),
    ]
    for dtype, lane in kinds[:3] if options.rehearse else kinds:
        name = f"verify {dtype} {lane}"
        file = options.work / f"verify-{dtype}-{lane}.json"
        arguments = ("verify", *cases, "--device", options.device, "--dtype", dtype, "--lane", lane, "--timeout", "60")
        chosen = _implementations(FEW_IMPLEMENTATIONS if options.rehearse else ["*"], options)
        steps.append(KitStep("verify", name, (*arguments, "--json", str(file), *chosen), group=name))
    return steps


def _bench(options: KitOptions, stage: str, sets: Mapping[str, Sequence[str]]) -> list[KitStep]:
    """Sets, or the cases of each that match its globs, in both lanes; first in one process each, then in three."""
    steps = []
    for processes in ("1",) if options.rehearse else ("1", "3"):
        for cases, globs in sets.items():
            for lane in FEW_LANES[cases] if options.rehearse else LANES:
                arguments = ["bench", "--cases", cases, "--device", options.device, "--lane", lane, "--seed", SEED]
                arguments += ["--processes", processes, "--timeout", "120", "--store", str(options.store)]
                chosen = FEW[cases] if options.rehearse else globs
                arguments += [word for case in chosen for word in ("--case", case)]
                # One thread: under load a loop of two can take a hundred times as long.
                arguments += ["--threads", "1", "--wait", "0", *FEW_OPTIONS[cases]] if options.rehearse else []
                label = f"{cases}-{lane}"
                name = f"{label}, {processes} process{'' if processes == '1' else 'es'}"
                steps.append(KitStep(stage, name, (*arguments, "--label", label), label, group=processes))
    return steps


def _probes(options: KitOptions) -> list[KitStep]:
    """The probes that could not be made without a GPU, by the committed record."""
    record = json.loads((ROOT / "docs" / "findings.json").read_text())
    names = [
        f"{each['framework']}/{each['name']}"
        for each in record["findings"]
        if each["status"] == "not applicable" and each["framework"] in options.frameworks
    ]
    if not names:
        return []
    chosen = tuple(word for name in names for word in ("--only", name))
    frameworks = tuple(word for framework in options.frameworks for word in ("--framework", framework))
    return [KitStep("probes", "probes", ("probe", *frameworks, *chosen, "--json", str(options.work / "probes.json")))]


def _train(options: KitOptions) -> list[KitStep]:
    """The steps that train."""
    steps = []
    for dtype in ("float32", "float64"):
        arguments = ["train", "pipeline", "--dtype", dtype, "--device", options.device]
        arguments += ["--out", str(options.work / f"train-{dtype}")]
        arguments += ["--epochs", "1", "--limit", "200"] if options.rehearse else []
        arguments += _implementations(["manual"] if options.rehearse else ["native*", "manual", "tuned"], options)
        steps.append(KitStep("train", f"train {dtype}", tuple(arguments)))
    return steps


def _implementations(names: Sequence[str], options: KitOptions) -> tuple[str, ...]:
    """The options that choose implementations of the frameworks."""
    pairs = (f"{framework}/{name}" for framework in options.frameworks for name in names)
    return tuple(word for pair in pairs for word in ("--implementation", pair))
