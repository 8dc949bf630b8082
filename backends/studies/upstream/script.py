"""A failure as a script of the framework alone, without birnn, beside the case file that it reads."""

from __future__ import annotations

from collections.abc import Callable
from string import Template

from backends.studies.study import Outcome
from backends.studies.upstream import jax_flax, mxnet_gluon, pytorch, tensorflow_keras
from common.cases.fuzzed import Draw
from common.judging.trial import OTHERS, TAME, WILD

START = Template('''"""$layer on a case of which the right numbers are known:
$about.

Run it in the folder of $file, which holds inputs, weights, cotangents and the right results, in float64.
"""

$imports

case = load_file("$file")


def group(prefix):
    return {name.removeprefix(prefix): value for name, value in case.items() if name.startswith(prefix)}


weights, cotangents, right = group("weights."), group("cotangents."), group("expected.")
x, lengths = case["inputs.x"], case.get("inputs.lengths")
shape = ($rows, len(x), $state_size)
states = [case.get(name, np.zeros(shape)) for name in $states]
''')
"""How a script begins."""
END = Template("""

$call
print($versions)
for name, value in results.items():
    error = abs(value - right[name])
    at = tuple(int(i) for i in np.unravel_index(error.argmax(), error.shape))
    print(f"{name:28} largest error {error[at]:.3e} at {at}: {float(value[at])}, right {float(right[name][at])}")
""")
"""How it ends; ``error.argmax()`` is a NaN where there is one."""
ONCE = "results = run(x)"
"""The first call."""
CALLS = {
    "again": "run(x)\nresults = run(x)  # the second call of the same layer",
    "forward": f"cotangents = {{}}\n{ONCE}  # a forward pass alone",
    WILD: "past = np.arange(x.shape[1]) >= lengths[:, None]\nright = run(x)\n"
    "results = run(np.where(past[..., None], np.nan, x))  # must be equal: NaN stands past the lengths alone",
    TAME: "past = np.arange(x.shape[1]) >= lengths[:, None]\nright = run(x)\n"
    "results = run(np.where(past[..., None], -x, x))  # must be equal: x is another one past the lengths alone",
}
"""How the call goes that came out wrong, where the first one was right."""
SCRIPTS: dict[str, Callable[[Draw], dict[str, str]]] = {
    "torch/native": pytorch.parts,
    "jax/native-linen": jax_flax.linen_parts,
    "jax/native-nnx": jax_flax.nnx_parts,
    "tensorflow/native": tensorflow_keras.parts,
    "mxnet/native": mxnet_gluon.parts,
}
"""What a framework's own layer needs of a script: its layer's name, imports, versions, and ``run``."""
MERGES = {"torch": ("concat",), "mxnet": ("concat",)}
"""Which merges a framework's own layer has, where not all but a learned one."""


def no_script(implementation: str, draw: Draw, device: str) -> str | None:
    """Why there is no script of the framework alone for a failure, in words; None where there is one."""
    if implementation not in SCRIPTS:
        return f"no script of a framework alone: {implementation} is code around it; the case file serves"
    framework = implementation.partition("/")[0]
    if draw.directions == 2 and draw.merge not in MERGES.get(framework, ("concat", "sum", "mul", "ave")):
        return f"no script of {framework} alone: merge {draw.merge} is code around its layer; the case file serves"
    if device != "cpu":
        return f"no script of {framework} alone: one is written for the CPU; the case file serves"
    return None


def script(implementation: str, draw: Draw, file: str, outcome: Outcome) -> str:
    """A script for the maintainers of ``implementation``'s framework, which reads the case from ``file`` beside it and
    makes the call that came out wrong; where ``no_script`` says nothing.
    """
    spec = draw.spec()
    parts = SCRIPTS[implementation](draw)
    states = ["inputs.h_0", "inputs.c_0"] if spec.cell == "lstm" else ["inputs.h_0"]
    sizes = {"rows": spec.num_directions * spec.num_layers, "state_size": spec.state_size, "states": states}
    start = START.substitute(parts, about=draw, file=file, **sizes)
    return start + parts["run"] + END.substitute(parts, call=_call(outcome))


def _call(outcome: Outcome) -> str:
    """The call that shows the failure."""
    reason = outcome.reason
    for name, what in OTHERS.items():
        if reason.startswith(what):
            return CALLS[name]
    if reason.startswith("with other padding"):  # what there came of it is no result
        return CALLS[WILD]
    for what in (WILD, TAME):
        if reason.endswith(f"with {what} there"):
            return CALLS[what]
    return ONCE
