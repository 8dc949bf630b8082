"""Known divergences of MXNet in bidirectional RNNs: those of silent_probes.py, then what raises late or is odd."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon, nd
from mxnet.gluon import rnn

from backends.interface.layer import Arrays
from backends.interface.probe import Observation, observed
from backends.mxnet_gluon.probes.silent import PROBES  # so that those come first
from backends.mxnet_gluon.probes.subject import (
    CLOSE,
    SQUARE,
    a_case,
    complaint,
    distance,
    full,
    fused,
    run_fused,
    tensor,
    truth,
    unrolled_batch_first,
)
from common.case import Case


def now_and_later(backward: Callable[[nd.NDArray], object], loss: nd.NDArray) -> Observation:
    """Whether an error that ``backward`` must raise comes from it, or from the next synchronisation."""
    now, later = complaint(lambda: backward(loss)), complaint(nd.waitall)
    told = f"backward {'raised' if now else 'returned'}, the next synchronisation {'raised' if later else 'passed'}"
    return observed(bool(later) and not now, not later, f"{told} ({now or later or 'no error'})")


@PROBES.add(
    what="A gradient through `projection_size`, which the CPU does not have, should raise in `backward`; it raises at "
    "the next synchronisation.",
    consequence="The traceback points to an innocent line, perhaps of the next batch.",
    way_out="Train projections on a GPU; call `nd.waitall()` after `backward` when looking for an error.",
    harm="late",
    upstream="https://github.com/apache/mxnet/pull/17702",
)
def projection_gradient_raises_later(backward: Callable[[nd.NDArray], object] = nd.NDArray.backward) -> Observation:
    layer = rnn.LSTM(6, projection_size=2, bidirectional=True, input_size=4)
    layer.initialize(mx.init.Zero())
    with autograd.record():
        loss = layer(nd.ones((5, 3, 4))).sum()
    return now_and_later(backward, loss)


@PROBES.add(
    what="`x.attach_grad('add')` should add up x's gradients; MXNet's own CPU kernel cannot, and says so only at the "
    "next synchronisation.",
    consequence="Accumulating gradients works in float32 and breaks, somewhere else, in float64.",
    way_out="Attach with 'write' and add the gradients up outside.",
    harm="late",
    upstream="https://github.com/apache/mxnet/issues/16578",
)
def added_up_gradient_raises_later(backward: Callable[[nd.NDArray], object] = nd.NDArray.backward) -> Observation:
    case = full(a_case("lstm"))
    layer, _ = fused(case, "float64", layout="TNC")
    x = tensor(case.x, "float64").swapaxes(0, 1)  # (batch, seq_len, in) to (seq_len, batch, in)
    x.attach_grad("add")
    with autograd.record():
        loss = layer(x).sum()
    return now_and_later(backward, loss)


def save_parameters(layer: gluon.Block, path: str) -> None:
    """Save a layer as users do."""
    layer.save_parameters(path)


def names_saved(save: Callable[[Any, str], None], layer: Any) -> tuple[str, set[str]]:
    """What saving the layer raised, and the names in the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "layer.params")
        raised = complaint(lambda: save(layer, path))
        return raised, set() if raised else set(nd.load(path))


@PROBES.add(
    what="`save_parameters` should work for any depth; it fails from eleven layers on, as its pattern for names takes "
    "one digit.",
    consequence="A deep model fails at its first checkpoint, after training.",
    way_out="Save with `collect_params().save`, or stack several shallower layers.",
    harm="late",
)
def eleven_layers_cannot_be_saved(save: Callable[[Any, str], None] = save_parameters) -> Observation:
    ten, eleven = (
        names_saved(save, fused(full(a_case("rnn_tanh", num_layers=num_layers)))[0])[0] for num_layers in (10, 11)
    )
    told = f"10 layers: {ten or 'saved'}; 11 layers: {eleven or 'saved'}"
    return observed(bool(eleven) and not ten, not ten and not eleven, told)


@PROBES.add(
    what="GRU and RNN should take lengths as LSTM does, or refuse `use_sequence_length`; they run, ignoring them, and "
    "raise about a missing state_cell once hybridized.",
    consequence="Adding `hybridize()` breaks a working, though wrong, program with a message on something else.",
    way_out="Unroll the cells with `valid_length`, time first.",
    harm="late",
    upstream="https://github.com/apache/mxnet/issues/20524",
)
def lengths_of_gru_raise_once_hybridized(make: Callable[..., Any] = rnn.GRU) -> Observation:
    def call(hybridize: bool) -> None:
        layer = make(6, bidirectional=True, input_size=4, use_sequence_length=True)
        layer.initialize()
        layer.hybridize(hybridize)
        layer(nd.ones((5, 3, 4)), sequence_length=nd.array([5, 3, 1]))
        nd.waitall()

    plain, hybrid = complaint(lambda: call(False)), complaint(lambda: call(True))
    told = f"not hybridized: {plain or 'no error'}; hybridized: {hybrid or 'no error'}"
    return observed("state_cell" in hybrid and not plain, bool(plain) == bool(hybrid), told)


@PROBES.add(
    what="`unroll(layout='NTC', valid_length=…)` of two bidirectional layers should run; it raises from a "
    "concatenation inside the second.",
    consequence="Code that works for one layer fails for two with a message on shapes that the user never made.",
    way_out="Swap the axes of x and unroll with `layout='TNC'`.",
    harm="late",
)
def unroll_batch_first_raises_for_two_layers(
    unrolled: Callable[[Case], np.ndarray] = unrolled_batch_first,
) -> Observation:
    one, two = (
        complaint(partial(unrolled, a_case("lstm", with_states=False, num_layers=num_layers))) for num_layers in (1, 2)
    )
    told = f"one layer: {one or 'no error'}; two layers: {two or 'no error'}"
    return observed(bool(two) and not one, not one and not two, told)


def initialize(layer: gluon.Block) -> None:
    """Initialise a layer as users do."""
    layer.initialize()


@PROBES.add(
    what="A float64 layer should initialise under `npx.set_np()`; the default initializer draws float32 and raises.",
    consequence="Double precision cannot be had in NumPy mode without writing the weights oneself.",
    way_out="Initialise in float32 and cast the layer, or set the weights.",
    harm="late",
    upstream="https://github.com/apache/mxnet/issues/18398",
)
def float64_cannot_be_initialised_in_numpy_mode(start: Callable[[Any], None] = initialize) -> Observation:
    def make() -> None:
        start(rnn.LSTM(6, bidirectional=True, input_size=4, dtype="float64"))

    plain = complaint(make)
    with mx.util.np_shape(True), mx.util.np_array(True):  # what set_np turns on, until here
        numpy_mode = complaint(make)
    told = f"outside NumPy mode: {plain or 'no error'}; inside: {numpy_mode or 'no error'}"
    return observed(bool(numpy_mode) and not plain, not numpy_mode and not plain, told)


def unroll_alone(cells: Any, x: nd.NDArray) -> Any:
    """Unroll cells without first states."""
    return cells.unroll(x.shape[0], x, layout="TNC", merge_outputs=True)


@PROBES.add(
    what="The cells of a float64 layer should unroll in float64; their zero states are float32 and raise.",
    consequence="The way round the fused layer's gaps fails in double precision, on a dtype the user never named.",
    way_out="Pass `begin_state=cells.begin_state(batch_size=…, dtype='float64')`.",
    harm="late",
)
def unroll_in_float64_starts_in_float32(run: Callable[[Any, nd.NDArray], Any] = unroll_alone) -> Observation:
    errors = []
    for dtype in ("float32", "float64"):
        case = full(a_case("lstm"))
        layer, _ = fused(case, dtype)
        x = tensor(case.x, dtype).swapaxes(0, 1)  # (batch, seq_len, in) to (seq_len, batch, in)
        errors.append(complaint(partial(run, layer._unfuse(), x)))
    told = f"float32: {errors[0] or 'no error'}; float64: {errors[1] or 'no error'}"
    return observed(bool(errors[1]) and not errors[0], not any(errors), told)


@PROBES.add(
    what="A float16 layer should run on the CPU or be refused when it is made; it raises from the matrix product.",
    consequence="A model trained in float16 on a GPU cannot be run on a CPU.",
    way_out="Cast the layer to float32 on the CPU.",
    harm="late",
    upstream="https://github.com/apache/mxnet/issues/12700",
)
def float16_raises_on_cpu(run: Callable[[Case, str], Arrays] = run_fused) -> Observation:
    raised = complaint(lambda: run(full(a_case("lstm")), "float16"))
    return observed("gemm" in raised, not raised, raised or "no error")


def lstm_in_int8(x: nd.NDArray) -> gluon.Block:
    """The block that quantize_net_v2 makes of an LSTM for an x (seq_len, batch, in)."""
    from mxnet.contrib.quantization import quantize_net_v2  # here, for it takes a while

    net = gluon.nn.HybridSequential()
    net.add(rnn.LSTM(6, bidirectional=True, input_size=x.shape[2]))
    net.initialize()
    net.hybridize()
    with warnings.catch_warnings(action="ignore"):
        return quantize_net_v2(net, data_shapes=[mx.io.DataDesc("data", x.shape)], logger=None)


@PROBES.add(
    what="What quantize_net_v2 makes of an LSTM should run, or not be made; it is made, and its first call raises.",
    consequence="Minutes of calibration end in a block that answers nothing.",
    way_out="None with 1.9.1: `birnn convert` to ONNX, whose runtime has an int8 LSTM.",
    harm="late",
)
def quantized_lstm_does_not_run(make: Callable[[nd.NDArray], gluon.Block] = lstm_in_int8) -> Observation:
    x = tensor(a_case("lstm", SQUARE).x)
    blocks: list[gluon.Block] = []
    made = complaint(lambda: blocks.append(make(x)))
    ran = made or complaint(lambda: nd.waitall() or blocks[0](x).wait_to_read())
    told = f"making it {'raised' if made else 'passed'}, calling it {f'raised {ran}' if ran else 'passed'}"
    return observed(not made and "non-differentiable" in ran, not ran, told)


@PROBES.add(
    what="`rnn.RNN` should be a tanh RNN, as RNNCell and other frameworks' are by default; it is a relu RNN.",
    consequence="Weights from elsewhere give other numbers, and long sequences overflow.",
    way_out="Always give `activation`.",
    harm="surprise",
)
def rnn_is_relu_by_default(make: Callable[..., Any] = rnn.RNN) -> Observation:
    case = full(a_case("rnn_tanh"))
    relu = truth(replace(case, spec=case.spec.model_copy(update={"cell": "rnn_relu"})))["output"]
    output = run_fused(case, make=make)["output"]
    to_tanh, to_relu = distance(output, truth(case)["output"]), distance(output, relu)
    told = f"the output is {to_tanh:.2g} away from tanh's and {to_relu:.2g} from relu's"
    return observed(to_relu < CLOSE, to_tanh < CLOSE, told)


def call_plainly(layer: Any, x: nd.NDArray) -> Any:
    """Call a layer without states."""
    return layer(x)


@PROBES.add(
    what="A layer should return output and final states; called without states it returns the output alone.",
    consequence="`output, states = layer(x)` raises, or takes a sequence of two steps apart.",
    way_out="Pass `layer.begin_state(batch_size)` whenever the final states are wanted.",
    harm="surprise",
)
def only_the_output_without_states(call: Callable[[Any, nd.NDArray], Any] = call_plainly) -> Observation:
    case = full(a_case("gru"))
    given = call(fused(case)[0], tensor(case.x))
    return observed(
        isinstance(given, nd.NDArray), isinstance(given, list | tuple), f"the call returned a {type(given).__name__}"
    )


def save_collected(layer: gluon.Block, path: str) -> None:
    """Save a layer's collected parameters."""
    layer.collect_params().save(path)


@PROBES.add(
    what="The two ways to save a layer should agree on names; `save_parameters` writes those of unfused cells, "
    "`collect_params().save` a counter of the layers made so far in the process.",
    consequence="A checkpoint loads only its own way, and the second kind only after as many layers were made.",
    way_out="Use `save_parameters` and `load_parameters` throughout.",
    harm="surprise",
)
def checkpoints_have_two_kinds_of_names(save: Callable[[Any, str], None] = save_collected) -> Observation:
    layer, again = fused(full(a_case("lstm")))[0], fused(full(a_case("lstm")))[0]
    (_, one), (_, other), (_, later) = (
        names_saved(*each) for each in ((save_parameters, layer), (save, layer), (save, again))
    )
    told = f"{min(one)} by save_parameters is {min(other)} here, and {min(later)} in a second layer like it"
    return observed(not one & other and other != later, one == other == later, told)


def unroll_by_default(cells: Any, x: nd.NDArray) -> nd.NDArray:
    """The output of unrolled cells, with the layout that is unroll's default."""
    return cells.unroll(x.shape[0], x, merge_outputs=True)[0]


@PROBES.add(
    what="A layer and its own cells should take x in the same layout by default; the layer takes time first, `unroll` "
    "batch first.",
    consequence="Where batch and seq_len are equal, replacing a layer by its cells changes the results.",
    way_out="Give `layout` to both.",
    harm="surprise",
)
def layer_and_unroll_differ_in_layout(run: Callable[[Any, nd.NDArray], nd.NDArray] = unroll_by_default) -> Observation:
    case = full(a_case("lstm", SQUARE, with_states=False))
    layer = fused(case, layout="TNC")[0]
    x = tensor(case.x)
    error = distance(run(layer._unfuse(), x).asnumpy(), layer(x).asnumpy())
    return observed(error > 0.01, error < CLOSE, f"with 4 rows of 4 steps the outputs differ by {error:.2g}")


def without_old_names() -> str:
    """Source that takes from NumPy the names that it lost in version 1.24."""
    return """
import numpy
old = numpy.__getattr__
def lookup(name):
    if name in {"bool", "int", "float", "complex", "object", "str"}:
        raise AttributeError(f"module 'numpy' has no attribute {name!r}")
    return old(name)
numpy.__getattr__ = lookup
"""


@PROBES.add(
    what="MXNet should import with a NumPy of the last years; it uses `np.bool`, which NumPy 1.24 removed.",
    consequence="It cannot share an environment with current frameworks, and is held to Python 3.11 and before.",
    way_out="Give it an environment of its own with numpy below 1.24.",
    harm="surprise",
    upstream="https://github.com/apache/mxnet/issues/21165",
)
def import_needs_an_old_numpy(prelude: Callable[[], str] = without_old_names) -> Observation:
    code = [sys.executable, "-W", "ignore", "-c", f"{prelude()}\nimport mxnet"]
    done = subprocess.run(code, capture_output=True, text=True, check=False)
    why = done.stderr.strip().splitlines()[-1] if done.returncode else "it imports"
    told = f"import mxnet without the names that NumPy 1.24 removed: {why}"
    return observed("has no attribute" in why, done.returncode == 0, told)


def profile_into(path: str) -> None:
    """Point the profiler to a file."""
    mx.profiler.set_config(aggregate_stats=True, filename=path)


@PROBES.add(
    what="`profiler.set_config(filename=…)` should leave the file alone until there is a profile, and write into a "
    "device or a pipe; it removes what has that name, at once.",
    consequence="With `filename=os.devnull`, the usual way to say nowhere, root has no /dev/null any more, and the "
    "next program that writes there makes a plain file of it.",
    way_out="Give it a new name in a temporary folder.",
    harm="surprise",
)
def profiler_removes_its_file(configure: Callable[[str], None] = profile_into) -> Observation:
    with tempfile.TemporaryDirectory() as folder:
        pipe = Path(folder) / "pipe"  # never a real device: root would lose it
        os.mkfifo(pipe)
        configure(str(pipe))
        kept, there = pipe.is_fifo(), pipe.exists()
    return observed(
        not kept, kept, f"a pipe given as the file is {'kept' if kept else 'replaced' if there else 'gone'}"
    )
