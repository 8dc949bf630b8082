"""MXNet's facts and settings; read beside the other frameworks' framework.py."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import mxnet as mx
from mxnet import nd

from backends.interface.checkpoint import LoadedCheckpoint
from backends.interface.framework import Framework, check_lane
from backends.interface.int8 import Int8Offer
from backends.interface.network import Network
from backends.interface.probe import Probes
from backends.mxnet_gluon.gaps import GAPS
from backends.mxnet_gluon.layer.implementation import DEVICES, DTYPES, MXNetImplementation
from backends.mxnet_gluon.layer.manual import Manual
from backends.mxnet_gluon.layer.native import Native
from backends.mxnet_gluon.layer.scratch import Scratch
from backends.mxnet_gluon.models.seq2seq import Seq2SeqNetwork
from backends.mxnet_gluon.models.sequence_model import SequenceNetwork
from common.models.specification import Model, SequenceModel
from common.specification import Specification


class MXNet(Framework):
    """MXNet, from the start with TF32 off, so that float32 means float32 on a GPU too."""

    name = "mxnet"
    gaps = GAPS
    implementations: Mapping[str, type[MXNetImplementation]] = {"native": Native, "manual": Manual, "scratch": Scratch}

    def __init__(self) -> None:
        self.use_lane("exact")

    def versions(self) -> dict[str, str]:
        return {"mxnet": mx.__version__}

    def devices(self) -> dict[str, str]:
        devices = {"cpu": f"{os.environ.get('OMP_NUM_THREADS') or os.cpu_count()} threads"}
        if mx.context.num_gpus():
            _, total = mx.context.gpu_memory_info(0)
            devices["gpu"] = f"GPU 0, {total / 2**30:.0f} GiB"  # MXNet 1.9.1 does not tell its name
        return devices

    def use_lane(self, lane: str) -> None:
        """Switch before the GPU is first used: MXNet 1.9.1 has no switch of its own, and CUDA's is read when cuBLAS and
        cuDNN start.
        """
        check_lane(lane)
        if lane == "exact":
            os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
        else:
            os.environ.pop("NVIDIA_TF32_OVERRIDE", None)

    def product(self, size: int, dtype: str, device: str) -> Callable[[], None]:
        options = {"ctx": DEVICES[device], "dtype": DTYPES[dtype]}
        a, b = (nd.random.uniform(shape=(size, size), **options) for _ in range(2))
        result = nd.zeros((size, size), **options)

        def compute() -> None:
            # a by b transposed: dot of MXNet 1.9.1 on the CPU runs in one thread.
            nd.FullyConnected(a, b, num_hidden=size, no_bias=True, out=result)
            nd.waitall()

        nd.waitall()
        return compute

    def copy(self, num_bytes: int, device: str) -> Callable[[], None]:
        source, target = (nd.ones(num_bytes // 4, ctx=DEVICES[device]) for _ in range(2))  # float32

        def compute() -> None:
            source.copyto(target)
            nd.waitall()

        nd.waitall()
        return compute

    def peak_device_bytes(self) -> int | None:
        return None  # MXNet 1.9.1 tells what the GPU has free now, and of no peak

    def reset_peak(self) -> None:
        return

    def network(self, spec: Model, implementation: str, dtype: str, device: str) -> Network:
        kind = SequenceNetwork if isinstance(spec, SequenceModel) else Seq2SeqNetwork
        return kind(spec, implementation, dtype, device, self.implementations[implementation])

    def checkpoint(self, path: Path, format_name: str, config: str | None) -> LoadedCheckpoint:
        from backends.mxnet_gluon.checkpoints import GluonCheckpoint

        return GluonCheckpoint(path, format_name, config)

    def int8_layers(self, spec: Specification) -> Int8Offer:
        from backends.mxnet_gluon.int8 import int8_layers

        return int8_layers(spec)

    def probes(self) -> Probes:
        from backends.mxnet_gluon.probes.odd import PROBES

        return PROBES
