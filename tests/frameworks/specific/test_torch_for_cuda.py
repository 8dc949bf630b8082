"""PyTorch's path on a device, without one: FakeTensorMode's tensors on CUDA, and tensors without data.

Neither runs a kernel. They tell that nothing is left on the CPU that an operation then joins with what is on the GPU.
"""

from __future__ import annotations

import pytest

from backends.interface.gaps import request_of
from backends.interface.layer import inputs_of
from tests.cases import a_case
from tests.frameworks.conftest import only_with

TORCH = only_with("torch")

import torch  # noqa: E402, after the skip
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

from backends.pytorch.layer.implementation import DEVICES  # noqa: E402

ON_GPU = ("native", "manual", "scratch")
"""What runs on a GPU; torch/tuned declares that it does not."""
CASES = (
    a_case("lstm"),
    a_case("gru_before", num_layers=2, merge="weighted", bias=False),
    a_case("rnn_tanh", lengths=None),
    a_case("rnn_relu", lengths=None, num_layers=2, merge="sum", bias=False),
    a_case("gru", lengths=None, num_layers=2),
    a_case("gru", lengths=None, merge="weighted"),
    a_case("lstm", lengths=None, with_states=False),
    a_case("lstm", lengths=None, hidden_size_reverse=3),
)
PACKS = ("native", "manual")
"""What packs ragged rows: that reads lengths from memory, and tensors without data have none."""


def test_all_but_tuned_are_meant_for_a_gpu() -> None:
    request = request_of(a_case("gru"), "float32", "gpu")
    meant = [
        name
        for name in TORCH.implementations
        if not any(name in gap.implementations and gap.applies(request) for gap in TORCH.gaps)
    ]
    assert meant == list(ON_GPU)


@pytest.mark.parametrize("way", ON_GPU)
def test_every_operation_has_all_it_reads_on_the_device(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """The device is ``meta``, where a tensor that stayed on the CPU is as foreign as on a GPU."""
    monkeypatch.setitem(DEVICES, "gpu", "meta")
    ran = 0
    for case in CASES:
        request = request_of(case, "float32", "gpu")
        refused = any(way in gap.implementations and gap.applies(request) for gap in TORCH.gaps)
        if refused or (way in PACKS and case.lengths is not None):
            continue
        run = TORCH.implementations[way](case.spec, "float32", "gpu")
        run.load_weights(case.weights)
        run.move_inputs(inputs_of(case))
        run.forward_backward()
        results = run._results  # type: ignore[attr-defined]
        assert {tensor.device.type for tensor in results.values()} == {"meta"}
        assert "grad.x" in results
        ran += 1
    assert ran >= len(CASES) - 3


def test_a_tensor_that_was_left_on_the_cpu_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from backends.pytorch.layer import scratch

    monkeypatch.setitem(DEVICES, "gpu", "meta")
    monkeypatch.setattr(scratch, "step_mask", lambda lengths, seq_len: torch.ones(3, seq_len, 1, dtype=torch.bool))
    case = a_case("gru")
    run = TORCH.implementations["scratch"](case.spec, "float32", "gpu")
    run.load_weights(case.weights)
    run.move_inputs(inputs_of(case))
    with pytest.raises(RuntimeError, match="device"):
        run.forward_backward()


def test_weights_and_inputs_are_put_on_cuda() -> None:
    """Under FakeTensorMode that is as far as a build without CUDA goes: the first operation needs CUDA's runtime."""
    if torch.version.cuda:
        pytest.skip("is about a build without CUDA")
    case = a_case("gru")
    with FakeTensorMode():
        run = TORCH.implementations["scratch"](case.spec, "float32", "gpu")
        run.load_weights(case.weights)
        run.move_inputs(inputs_of(case))
        tensors = [*run.parameters.values(), run._x, *run._states, run._lengths]  # type: ignore[attr-defined]
        assert {str(tensor.device) for tensor in tensors} == {"cuda:0"}
        assert run.host_lengths.device.type == "cpu"  # type: ignore[attr-defined]
        with pytest.raises(RuntimeError, match="not linked with support for cuda devices"):
            run.forward_backward()
