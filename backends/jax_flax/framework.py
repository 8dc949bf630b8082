"""JAX's facts and settings; read beside the other frameworks' framework.py."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import flax
import jax
import jax.numpy as jnp
import jaxlib
import numpy as np

from backends.interface.checkpoint import LoadedCheckpoint
from backends.interface.framework import Framework, check_lane
from backends.interface.int8 import Int8Offer
from backends.interface.kept_files import make_room
from backends.interface.network import Network
from backends.interface.probe import Probes
from backends.jax_flax.gaps import GAPS
from backends.jax_flax.layer import programs
from backends.jax_flax.layer.implementation import DTYPES, JaxImplementation
from backends.jax_flax.layer.manual import Manual
from backends.jax_flax.layer.native import NativeLinen, NativeNnx
from backends.jax_flax.layer.scratch import Scratch
from backends.jax_flax.layer.tuned import Tuned
from backends.jax_flax.models.seq2seq import Seq2SeqNetwork
from backends.jax_flax.models.sequence_model import SequenceNetwork
from common.models.specification import Model, SequenceModel
from common.specification import Specification


class Jax(Framework):
    """JAX with float64 switched on, from the start with products in full precision, so that float32 means float32 on a
    GPU too.
    """

    name = "jax"
    gaps = GAPS
    compiles = True
    implementations: Mapping[str, type[JaxImplementation]] = {
        "native-linen": NativeLinen,
        "native-nnx": NativeNnx,
        "manual": Manual,
        "scratch": Scratch,
        "tuned": Tuned,
    }

    def __init__(self) -> None:
        jax.config.update("jax_enable_x64", True)  # without it every float64 array is made float32
        self.use_lane("exact")
        if (kept := programs.folder()) is not None:
            make_room(kept, programs.MOST_BYTES)

    def versions(self) -> dict[str, str]:
        versions = {"jax": jax.__version__, "jaxlib": jaxlib.__version__, "flax": flax.__version__}
        if jax.default_backend() == "gpu":
            versions["gpu_platform"] = " ".join(jax.devices("gpu")[0].client.platform_version.split())
        return versions

    def devices(self) -> dict[str, str]:
        devices = {"cpu": f"{os.cpu_count()} logical processors"}
        if jax.default_backend() == "gpu":
            devices["gpu"] = jax.devices("gpu")[0].device_kind
        return devices

    def use_lane(self, lane: str) -> None:
        check_lane(lane)
        # "highest": no TF32; no layer here sets its own precision. None is the default, with TF32 where the GPU has it.
        jax.config.update("jax_default_matmul_precision", "highest" if lane == "exact" else None)

    def product(self, size: int, dtype: str, device: str) -> Callable[[], None]:
        rng = np.random.default_rng(0)
        arrays = [rng.normal(size=(size, size)).astype(DTYPES[dtype]) for _ in range(2)]
        a, b = jax.device_put(arrays, jax.devices(device)[0])
        product = jax.jit(jnp.matmul)

        def compute() -> None:
            jax.block_until_ready(product(a, b))

        return compute

    def copy(self, num_bytes: int, device: str) -> Callable[[], None]:
        arrays = [jax.device_put(np.ones(num_bytes, np.uint8), jax.devices(device)[0]) for _ in range(2)]
        # Donated, so that the copy goes into memory that is there: new memory on a CPU costs ten times the copy.
        copy = jax.jit(lambda target, source: jnp.copy(source), donate_argnums=0, keep_unused=True)

        def compute() -> None:
            arrays[0] = jax.block_until_ready(copy(*arrays))

        return compute

    def peak_device_bytes(self) -> int | None:
        if jax.default_backend() != "gpu":
            return None
        return (jax.devices("gpu")[0].memory_stats() or {}).get("peak_bytes_in_use")

    def reset_peak(self) -> None:
        return  # JAX 0.10.2 counts from the start of the process

    def network(self, spec: Model, implementation: str, dtype: str, device: str) -> Network:
        kind = SequenceNetwork if isinstance(spec, SequenceModel) else Seq2SeqNetwork
        return kind(spec, implementation, dtype, device, self.implementations[implementation])

    def checkpoint(self, path: Path, format_name: str, config: str | None) -> LoadedCheckpoint:
        from backends.jax_flax.checkpoints import FlaxCheckpoint

        return FlaxCheckpoint(path, format_name, config)

    def int8_layers(self, spec: Specification) -> Int8Offer:
        from backends.jax_flax.int8 import int8_layers

        return int8_layers(spec)

    def probes(self) -> Probes:
        from backends.jax_flax.probes.odd import PROBES

        return PROBES
