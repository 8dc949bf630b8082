"""JAX's facts and settings; read beside the other frameworks' framework.py."""

from __future__ import annotations

import os

import flax
import jax
import jaxlib

from backends.base import Framework
from backends.jax_flax.gaps import GAPS
from backends.jax_flax.manual import Manual
from backends.jax_flax.native import NativeLinen, NativeNnx
from backends.jax_flax.scratch import Scratch
from backends.probing import Probes


class Jax(Framework):
    """JAX with float64 switched on, and products in full precision, so that float32 means float32 on a GPU too."""

    name = "jax"
    gaps = GAPS
    implementations = {"native-linen": NativeLinen, "native-nnx": NativeNnx, "manual": Manual, "scratch": Scratch}

    def __init__(self) -> None:
        jax.config.update("jax_enable_x64", True)  # without it every float64 array is made float32
        jax.config.update("jax_default_matmul_precision", "highest")  # no TF32; no layer here sets its own precision

    def versions(self) -> dict[str, str]:
        found = {"jax": jax.__version__, "jaxlib": jaxlib.__version__, "flax": flax.__version__}
        if jax.default_backend() == "gpu":
            found["gpu_platform"] = " ".join(jax.devices("gpu")[0].client.platform_version.split())
        return found

    def devices(self) -> dict[str, str]:
        found = {"cpu": f"{os.cpu_count()} logical processors"}
        if jax.default_backend() == "gpu":
            found["gpu"] = jax.devices("gpu")[0].device_kind
        return found

    def probes(self) -> Probes:
        from backends.jax_flax.probes import PROBES

        return PROBES
