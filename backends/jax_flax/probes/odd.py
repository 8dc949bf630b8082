"""Known divergences of JAX in bidirectional RNNs: those of silent_probes.py, then what raises late or is odd."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from backends.interface.probe import Observation, observed
from backends.jax_flax.probes.silent import PROBES, ran
from backends.jax_flax.probes.subject import FULL, H_0, HIDDEN_SIZE, X, linen_parameters, run_linen

QR_REFUSES = ("NotImplementedError", "qr does not accept")
"""How QR refuses a half-precision matrix: in jax 0.10.2, and in 0.11.2 and 0.12.0."""


@PROBES.add(
    what="A cell with half-precision parameters should initialise; the orthogonal initialiser has no QR for them.",
    consequence="A network that runs in float32 cannot be built in half precision (linen, and most of nnx's cells).",
    way_out="Pass a recurrent_kernel_init that draws in float32 and casts, as nnx.LSTMCell's does.",
    harm="late",
    upstream="https://github.com/jax-ml/jax/issues/30176",
)
def half_precision_parameters_cannot_be_initialised(
    cell: Callable[[Any], Any] = lambda dtype: linen.LSTMCell(HIDDEN_SIZE, param_dtype=dtype),
) -> Observation:
    errors = [ran(partial(cell, dtype), dtype)[1] for dtype in (jnp.float16, jnp.bfloat16)]
    evidence = "; ".join(error or "no error" for error in errors)
    refused = all(any(words in (error or "") for words in QR_REFUSES) for error in errors)
    return observed(refused, not any(errors), evidence)


@PROBES.add(
    what="A linen cell with float64 input should compute or refuse it; with param_dtype at its default a scan fails.",
    consequence="The error speaks of the scan's carry, not of param_dtype.",
    way_out="Pass param_dtype=jnp.float64 to the cell, or an initial_carry in float64.",
    harm="late",
)
def linen_float64_fails_in_the_scan(cell: Callable[[], Any] = lambda: linen.LSTMCell(HIDDEN_SIZE)) -> Observation:
    dtype, error = ran(cell, np.float64)
    return observed("TypeError" in error and "carry" in error, dtype == np.float64, error or f"float64 in, {dtype} out")


@PROBES.add(
    what="Compiling for many shapes should cost memory only; on a CPU every program keeps mappings, which are limited.",
    consequence="A long run over many shapes reaches vm.max_map_count, and LLVM aborts it with memory to spare.",
    way_out="Pad to few shapes, and call jax.clear_caches() now and then.",
    harm="late",
    upstream="https://github.com/jax-ml/jax/issues/11923",
)
def compiled_programs_use_up_memory_mappings(
    compile_one: Callable[[], Any] = lambda: (
        jax.jit(partial(run_linen, "gru")).lower(linen_parameters("gru"), X, FULL, tuple(H_0)).compile()
    ),
) -> Observation:
    maps, allowed = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")
    if jax.default_backend() != "cpu" or not maps.exists():
        return Observation("not applicable", "needs a CPU backend and Linux's /proc")
    kept = [compile_one()]  # what comes once is not counted
    gc.collect()  # nor do programs of other probes go while counting
    before = maps.read_text().count("\n")
    kept += [compile_one() for _ in range(2)]
    each, limit = (maps.read_text().count("\n") - before) / 2, int(allowed.read_text())
    return observed(each > 20, each < 5, f"{each:.0f} mappings for each program, of {limit} that the system allows")


@PROBES.add(
    what="Cells of dtype=bfloat16 should give bfloat16, as linen.Dense does; GRUCell gives float32, SimpleCell fails.",
    consequence="Layers above get float32, and replacing GRUCell by SimpleCell ends in an error about a scan's carry.",
    way_out="Pass an initial_carry in bfloat16: the default one is in param_dtype.",
    harm="surprise",
)
def dtype_follows_the_initial_carry(
    cell: Callable[[Any], Any] = lambda kind: kind(HIDDEN_SIZE, dtype=jnp.bfloat16),
) -> Observation:
    (gru, first), (simple, second) = (ran(partial(cell, kind)) for kind in (linen.GRUCell, linen.SimpleCell))
    evidence = f"GRUCell gives {first or gru}, SimpleCell {second or simple}"
    return observed(gru == np.float32 and "carry" in second, gru == simple == jnp.bfloat16, evidence)


@PROBES.add(
    what="tanh should be within two spacings of the right answer, as C libraries' are; here it is several off near ±1.",
    consequence="Where tanh saturates its slope, 1 − y², is all rounding, and a small gradient is another one.",
    way_out="Compare such gradients with what rounding alone may change, as birnn verify does.",
    harm="surprise",
)
def tanh_is_several_spacings_off(tanh: Callable[[np.ndarray], Any] = jnp.tanh) -> Observation:
    x = np.linspace(-10, 10, 20_001, dtype=np.float32)
    right = np.tanh(x.astype(np.float64))
    off = float((np.abs(np.asarray(tanh(x)) - right) / np.spacing(np.abs(right).astype(np.float32))).max())
    return observed(off > 3, off <= 2, f"up to {off:.2f} spacings of float32 off, of {x.size} numbers from −10 to 10")


def public_names() -> list[str]:
    """The public names of flax's two modules of layers."""
    return [name for module in (linen, nnx) for name in dir(module) if not name.startswith("_")]


@PROBES.add(
    what="A trained layer ought to have a form in int8, as in torch, LiteRT and ONNX Runtime; flax has no quantized "
    "layer.",
    consequence="A model that is trained in flax is served in float32, or by another library.",
    way_out="`birnn predict --quantize int8 --save` for its size; `birnn convert` to ONNX for its speed.",
    harm="surprise",
)
def no_layer_is_quantized(names: Callable[[], list[str]] = public_names) -> Observation:
    every = names()
    quantized = [name for name in every if "quant" in name.lower() or "int8" in name.lower()]
    evidence = f"of {len(every)} public names, {', '.join(quantized) or 'none'} speaks of int8 or quantization"
    return observed(len(every) > 50 and not quantized, bool(quantized), evidence)
