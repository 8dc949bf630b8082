"""MXNet's facts and settings; read beside the other frameworks' framework.py."""

from __future__ import annotations

import os

import mxnet as mx

from backends.base import Framework
from backends.mxnet_gluon.gaps import GAPS
from backends.mxnet_gluon.manual import Manual
from backends.mxnet_gluon.native import Native
from backends.mxnet_gluon.scratch import Scratch
from backends.probing import Probes


class MXNet(Framework):
    """MXNet with TF32 off, so that float32 means float32 on a GPU too."""

    name = "mxnet"
    gaps = GAPS
    implementations = {"native": Native, "manual": Manual, "scratch": Scratch}

    def __init__(self) -> None:
        # MXNet 1.9.1 has no switch for it; CUDA's own is read when cuBLAS and cuDNN start, at the first use of the GPU.
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"

    def versions(self) -> dict[str, str]:
        return {"mxnet": mx.__version__}

    def devices(self) -> dict[str, str]:
        found = {"cpu": f"{os.environ.get('OMP_NUM_THREADS') or os.cpu_count()} threads"}
        if mx.context.num_gpus():
            _, total = mx.context.gpu_memory_info(0)
            found["gpu"] = f"GPU 0, {total / 2**30:.0f} GiB"  # MXNet 1.9.1 does not tell its name
        return found

    def probes(self) -> Probes:
        from backends.mxnet_gluon.probes import PROBES

        return PROBES
