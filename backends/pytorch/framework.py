"""PyTorch's facts and settings; read beside the other frameworks' framework.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from backends.interface.checkpoint import LoadedCheckpoint
from backends.interface.framework import Framework, check_lane
from backends.interface.int8 import Int8Offer
from backends.interface.network import Network
from backends.interface.probe import Probes
from backends.pytorch.gaps import GAPS
from backends.pytorch.layer.implementation import DEVICES, DTYPES, TorchImplementation
from backends.pytorch.layer.manual import Manual
from backends.pytorch.layer.native import Native
from backends.pytorch.layer.scratch import Scratch
from backends.pytorch.layer.tuned import Tuned
from backends.pytorch.models.seq2seq import Seq2SeqNetwork
from backends.pytorch.models.sequence_model import SequenceNetwork
from common.models.specification import Model, SequenceModel
from common.specification import Specification


class PyTorch(Framework):
    """PyTorch, from the start with TF32 off, so that float32 means float32 on a GPU too."""

    name = "torch"
    gaps = GAPS
    implementations: Mapping[str, type[TorchImplementation]] = {
        "native": Native,
        "manual": Manual,
        "scratch": Scratch,
        "tuned": Tuned,
    }

    def __init__(self) -> None:
        self.use_lane("exact")

    def versions(self) -> dict[str, str]:
        versions = {"torch": torch.__version__.split("+")[0]}  # without the local build tag
        if torch.version.cuda:
            versions |= {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}
        return versions

    def devices(self) -> dict[str, str]:
        devices = {"cpu": f"{torch.get_num_threads()} threads"}
        if torch.cuda.is_available():
            devices["gpu"] = torch.cuda.get_device_name(0)
        return devices

    def use_lane(self, lane: str) -> None:
        check_lane(lane)
        torch.backends.cudnn.allow_tf32 = lane == "fast"  # on by default for cuDNN's RNNs
        torch.backends.cuda.matmul.allow_tf32 = False  # off by default for products, in both lanes

    def product(self, size: int, dtype: str, device: str) -> Callable[[], None]:
        options = {"dtype": DTYPES[dtype], "device": DEVICES[device]}
        a, b = (torch.rand(size, size, **options) for _ in range(2))
        result = torch.empty_like(a)

        def compute() -> None:
            torch.mm(a, b, out=result)
            _wait(device)

        return compute

    def copy(self, num_bytes: int, device: str) -> Callable[[], None]:
        # Ones: pages of zeros that were never written are all one page, which the cache then holds.
        source, target = (torch.ones(num_bytes, dtype=torch.uint8, device=DEVICES[device]) for _ in range(2))

        def compute() -> None:
            target.copy_(source)
            _wait(device)

        return compute

    def peak_device_bytes(self) -> int | None:
        return torch.cuda.max_memory_allocated(0) if torch.cuda.is_available() else None

    def reset_peak(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats(0)

    def network(self, spec: Model, implementation: str, dtype: str, device: str) -> Network:
        kind = SequenceNetwork if isinstance(spec, SequenceModel) else Seq2SeqNetwork
        return kind(spec, implementation, dtype, device, self.implementations[implementation])

    def checkpoint(self, path: Path, format_name: str, config: str | None) -> LoadedCheckpoint:
        from backends.pytorch.checkpoints import TorchCheckpoint

        return TorchCheckpoint(path, format_name, config)

    def int8_layers(self, spec: Specification) -> Int8Offer:
        from backends.pytorch.int8 import int8_layers

        return int8_layers(spec)

    def probes(self) -> Probes:
        from backends.pytorch.probes.odd import PROBES

        return PROBES


def _wait(device: str) -> None:
    """Wait until the device has computed what was asked of it."""
    if device == "gpu":
        torch.cuda.synchronize()
