"""A backend whose implementations misbehave in the ways that real ones do; NumPy is its framework."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from backends.interface.framework import Framework
from backends.interface.gaps import Gap
from backends.interface.layer import Arrays
from backends.interface.probe import Observation, Probes, observed
from backends.registry import Backend
from backends.worker import execution
from common.case import result_shapes
from common.reference import step_mask
from common.specification import Specification
from tests.numpy_loop.birnn_numpy_loop.framework import Loop

BACKEND = Backend(name="misbehaving", load="tests.workers.misbehaving:load")
COMPILING = Backend(name="misbehaving", load="tests.workers.misbehaving:load_compiling")
NOT_IMPORTABLE = Backend(name="misbehaving", load="tests.workers.misbehaving:fail_to_load")
DIES_AT_START = Backend(name="misbehaving", load="tests.workers.misbehaving:die")


class Segfaults(Loop):
    """Dies on a case of batch 1, as a native library would."""

    def forward(self) -> None:
        if self._inputs.x.shape[0] == 1:
            print("about to touch memory that is not ours", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        super().forward()


class Hangs(Loop):
    """Never answers on a case of batch 1, and has a child process that would outlive it."""

    def forward(self) -> None:
        if self._inputs.x.shape[0] == 1:
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            print(f"child {child.pid}", file=sys.stderr, flush=True)
            time.sleep(600)
        super().forward()


class Noisy(Loop):
    """Writes to stdout from Python, from the descriptor and from a child, in the middle of everything."""

    def forward(self) -> None:
        print('{"status": "done"}', flush=True)
        os.write(1, b"noise on descriptor 1\n" * 1000)
        subprocess.run(["echo", "noise from a child"], check=True)
        super().forward()


class Untidy(Loop):
    """Leaves files behind in the temporary folder and in Keras' home."""

    def forward(self) -> None:
        Path(tempfile.mkdtemp(), "profile.json").write_text("{}")
        keras = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
        keras.mkdir(exist_ok=True)
        (keras / "keras.json").write_text("{}")
        super().forward()


class HoldsTheLock(Loop):
    """Stays in a library's call that keeps the interpreter's lock."""

    def forward(self) -> None:
        ctypes.PyDLL(None).sleep(60)


class Forks(Loop):
    """Leaves a copy of its process behind, which answers the same request once more, when another one is waited for."""

    def forward(self) -> None:
        if os.fork() == 0:
            time.sleep(0.3)
        super().forward()


class OfAnother(Loop):
    """A result that says in its header that it is another one's; ``field`` is what is false there."""

    field: str

    def forward(self) -> None:
        super().forward()
        kept = execution.ResultHeader
        execution.ResultHeader = lambda **content: kept(**content | {self.field: "another"})  # type: ignore[assignment, misc]


class OfAnotherCase(OfAnother):
    field = "case"


class OfAnotherHash(OfAnother):
    field = "case_sha256"


class OfAnotherImplementation(OfAnother):
    field = "implementation"


class OfAnotherDtype(OfAnother):
    field = "dtype"


class OfAnotherDevice(OfAnother):
    field = "device"


class WithoutAFile(Loop):
    """Says that it is done when there is no result."""

    def forward(self) -> None:
        super().forward()
        sys.modules["__main__"].write_result = lambda *arguments, **options: None  # type: ignore[attr-defined]


class Zeros(Loop):
    """Answers at once, however large the case."""

    def forward(self) -> None:
        pass

    def extract(self) -> Arrays:
        shapes = result_shapes(self.spec, *self._inputs.x.shape[:2])
        return {name: np.zeros(shape) for name, shape in shapes.items() if not name.startswith("grad.")}


class LosesATensor(Loop):
    """The results of every second object lack a tensor."""

    made = 0

    def __init__(self, spec: Specification, dtype: str, device: str) -> None:
        super().__init__(spec, dtype, device)
        type(self).made += 1
        self.whole = bool(self.made % 2)

    def extract(self) -> Arrays:
        tensors = super().extract()
        return tensors if self.whole else {name: tensors[name] for name in list(tensors)[:-1]}


class Raises(Loop):
    def forward(self) -> None:
        raise RuntimeError("the kernel does not like this\nand says why at length")


class DirectionsSwapped(Loop):
    """Concatenates the reverse half first."""

    def extract(self) -> Arrays:
        tensors = super().extract()
        return tensors | {"output": np.roll(tensors["output"], self.spec.hidden_size, axis=-1)}


class ReadsPadding(Loop):
    """Moves one number of a gradient by one bit, up or down with the sign of the last row's padding."""

    def extract(self) -> Arrays:
        tensors = super().extract()
        if "grad.h_0" not in tensors:
            return tensors
        gradient = tensors["grad.h_0"].copy()
        gradient[0, 0, 0] = np.nextafter(gradient[0, 0, 0], np.float32(np.sign(self._inputs.x[-1, -1, 0]) * np.inf))
        return tensors | {"grad.h_0": gradient}


class MasksTooLate(Loop):
    """Adds 0·x of the padding to a gradient, as a mask after the arithmetic does."""

    def extract(self) -> Arrays:
        tensors, inputs = super().extract(), self._inputs
        if "grad.weight_ih_l0" not in tensors:
            return tensors
        padding = inputs.x[~step_mask(inputs.lengths, *inputs.x.shape[:2])]
        with np.errstate(invalid="ignore"):
            return tensors | {"grad.weight_ih_l0": tensors["grad.weight_ih_l0"] + np.float32((0 * padding).sum())}


class WrongWhenWide(Loop):
    """Off by a thousandth in the output from 16 units and two rows on, as a kernel that small cases never reach."""

    def extract(self) -> Arrays:
        tensors = super().extract()
        if self.spec.hidden_size < 16 or len(self._inputs.x) < 2:
            return tensors
        return tensors | {"output": tensors["output"] * np.float32(1.001)}


class DiesOfNaN(Loop):
    """Ends its process when something in its input is not finite."""

    def forward_backward(self) -> None:
        if not np.isfinite(self._inputs.x).all():
            os.kill(os.getpid(), signal.SIGSEGV)
        super().forward_backward()


GAPS = (
    Gap(
        implementations=("reads-padding-declared", "masks-too-late-declared"),
        what="padding that is not finite",
        reason="it runs over the padding",
        applies=lambda request: not request.finite_padding,
    ),
    Gap(("outpaced",), "everything", "it was slow", applies=lambda request: True, slower=True),
)


class KeepsState(Loop):
    """Starts the next call from the states that the last one ended with."""

    def forward(self) -> None:
        super().forward()
        self._inputs = replace(self._inputs, h_0=self._results["h_n"])


class AddsUp(Loop):
    """Adds the gradients of a call to those of the calls before."""

    def forward_backward(self) -> None:
        before = getattr(self, "_results", {})
        super().forward_backward()
        gradients = [name for name in self._results if name.startswith("grad.")]
        self._results |= {name: self._results[name] + before.get(name, 0) for name in gradients}


class WrongInference(Loop):
    """Ignores lengths where no gradient is wanted."""

    _with_gradients = False

    def forward_backward(self) -> None:
        self._with_gradients = True
        super().forward_backward()
        self._with_gradients = False

    def forward(self) -> None:
        given = self._inputs
        if not self._with_gradients:
            self._inputs = replace(given, lengths=None)
        super().forward()
        self._inputs = given


class ForwardOnly(Loop):
    """Has no gradients and says so."""

    forward_only = "it was made to serve"

    def forward_backward(self) -> None:
        raise NotImplementedError("it must not be asked for gradients")


class ForwardOnlyAndWrong(ForwardOnly, DirectionsSwapped):
    """Has no gradients, and wrong outputs."""


class RoundsOtherwise(Loop):
    """Moves every number by one bit from call to call, within rounding."""

    def extract(self) -> Arrays:
        self._calls = getattr(self, "_calls", 0) + 1
        tensors = super().extract()
        return {name: np.nextafter(value, value * np.float32(self._calls)) for name, value in tensors.items()}


PROBES = Probes()
TEXTS = {"what": "One expects this, and gets that.", "consequence": "It hurts.", "way_out": "Do not."}


@PROBES.add(harm="silent", **TEXTS)
def halves_are_swapped(halves: tuple[int, int] = (1, 0)) -> Observation:
    return observed(known=halves == (1, 0), expected=halves == (0, 1), evidence=f"the halves are {halves}")


@PROBES.add(harm="late", **TEXTS)
def measuring_raises() -> Observation:
    raise RuntimeError("no such kernel")


@PROBES.add(harm="late", **TEXTS)
def measuring_kills() -> Observation:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


@PROBES.add(harm="surprise", **TEXTS)
def needs_a_gpu() -> Observation:
    return Observation("not applicable", "there is no GPU here")


class Misbehaving(Framework):
    name = "misbehaving"
    gaps = GAPS
    implementations = {
        "well": Loop,
        "outpaced": Loop,
        "segfaults": Segfaults,
        "hangs": Hangs,
        "noisy": Noisy,
        "untidy": Untidy,
        "holds-the-lock": HoldsTheLock,
        "forks": Forks,
        "of-another-case": OfAnotherCase,
        "of-another-hash": OfAnotherHash,
        "of-another-implementation": OfAnotherImplementation,
        "of-another-dtype": OfAnotherDtype,
        "of-another-device": OfAnotherDevice,
        "without-a-file": WithoutAFile,
        "loses-a-tensor": LosesATensor,
        "zeros": Zeros,
        "raises": Raises,
        "swapped": DirectionsSwapped,
        "reads-padding": ReadsPadding,
        "reads-padding-declared": ReadsPadding,
        "masks-too-late": MasksTooLate,
        "masks-too-late-declared": MasksTooLate,
        "wrong-when-wide": WrongWhenWide,
        "dies-of-nan": DiesOfNaN,
        "keeps-state": KeepsState,
        "adds-up": AddsUp,
        "wrong-inference": WrongInference,
        "rounds-otherwise": RoundsOtherwise,
        "forward-only": ForwardOnly,
        "forward-only-wrong": ForwardOnlyAndWrong,
    }

    def versions(self) -> dict[str, str]:
        return {"misbehaving": "1.0"}

    def devices(self) -> dict[str, str]:
        return {"cpu": "1 thread"}

    def probes(self) -> Probes:
        return PROBES


class CompilingEachPass(Misbehaving):
    compiles = True


def load() -> Framework:
    return Misbehaving()


def load_compiling() -> Framework:
    return CompilingEachPass()


def fail_to_load() -> Framework:
    raise ImportError("libfoo.so.3: cannot open shared object file")


def die() -> Framework:
    print("illegal instruction, roughly", file=sys.stderr, flush=True)
    os._exit(3)
