"""How fast a pass could be on a machine: the largest of what its products, its memory traffic and its chain cost.

The model, for an RNN of L layers (G = 1, 3, 4 gates for rnn, gru, lstm; D = 1 or 2 directions; s bytes a number; I_0
the input size, I_l the width of the merged output), over N real steps of all rows:

- products: F_in = Σ_l 2·D·G·H·I_l·N outside the recurrence and F_rec = L·2·D·G·H²·N inside it. Backward takes twice
  the forward's, less 2·D·G·H·I_0·N where no gradient of the input is wanted.
- memory: what must be moved between memory and processor even if nothing is moved twice (``_layer_bytes``).
- chain: the steps of a layer follow one another. With two directions, which overlap, layer l + 1 needs the whole
  reverse pass of layer l, so L·T steps come in sequence, each with a synchronisation. With one, layer l + 1 may run a
  step behind layer l (as cuDNN's do: Appleyard, Kočiský and Blunsom 2016, arXiv:1604.01946), so T + L − 1 do, which
  share the work of L·T.

The chain limit of persistent recurrent kernels is from Diamos et al. 2016 (Persistent RNNs, ICML, PMLR 48:2024) and
Pöppel, Beck and Hochreiter 2024 (FlashRNN, arXiv:2412.07752). A product rate alone says little: an LSTM of hidden size
768 at batch 16 in float16 reaches 7.8 % of an H100's product rate and about all of the chain's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.cases.case import BenchmarkCase

COMPUTE, MEMORY, CHAIN = "compute", "memory", "chain"
"""What may bound a pass: its products, its bytes, or its steps, one after another."""
POINTWISE_FLOPS = {1: 3, 3: 14, 4: 15}
"""Operations of a step by number of gates, for each unit and row, besides the products."""
KEPT_FOR_BACKWARD = {1: 0, 3: 4, 4: 5}
"""Numbers of a step by number of gates, for each unit and row, that a forward pass leaves for the backward pass."""
CHAIN_MARGIN = 1.05
"""A chain that takes at most so much longer than products or memory alone is not what binds."""

# Seconds to synchronise on a GPU: constants as published for an H100, not measured here. By what has to hold a
# direction's recurrent weights: one SM (256 KiB of registers and, for one block, 227 KiB of shared memory: NVIDIA's
# Hopper tuning guide), one portable cluster of 8, or the whole grid.
SM_BYTES = (256 + 227) * 1024
"""Bytes of registers and shared memory of one SM of a Hopper GPU."""
CLUSTER_BYTES = 8 * SM_BYTES
"""Bytes of a cluster of eight SMs."""
HOPPER_BARRIERS = ((SM_BYTES, 0.5e-6), (CLUSTER_BYTES, 0.63e-6), (math.inf, 1.9e-6))
"""Seconds of a barrier on a Hopper GPU, by the most bytes that what takes part in it holds."""


@dataclass(frozen=True)
class Ceilings:
    """What a machine can do: ``product`` in flops a second, ``copy`` in bytes a second (read and written),
    ``barrier`` in seconds, None for a GPU, where ``HOPPER_BARRIERS`` stand in; ``on_chip`` bytes of recurrent weights
    that need not be read from memory at each step (infinite where it is not known, which makes the limit lower).
    """

    product: float
    copy: float
    barrier: float | None
    on_chip: float = math.inf


@dataclass(frozen=True)
class Limit:
    """The least time that a pass could take, and what it is made of.

    ``seconds`` is the largest of ``compute_seconds``, ``memory_seconds`` and ``chain_seconds``; ``binding`` names the
    largest, but says chain only where the chain takes over 5 % more than the others, since it contains the products.
    ``flops`` of products, ``pointwise_flops`` of the rest (in no term), compulsory ``bytes``; ``steps`` in sequence,
    forward and backward, and ``step_seconds`` the least time of one of a single layer.
    """

    seconds: float
    binding: str
    compute_seconds: float
    memory_seconds: float
    chain_seconds: float
    flops: float
    pointwise_flops: float
    bytes: float
    steps: int
    step_seconds: float


def limit(case: BenchmarkCase, passed: str, bytes_per_element: int, ceilings: Ceilings) -> Limit:
    """The limit of a pass of a case on a machine.

    Ragged cases: N is the sum of the lengths, in products and in what a step moves; the chain is as long as the longest
    row; arrays are padded, so memory counts all of batch · seq_len.

    A backward pass repeats the chain: as many steps again, each with a product as large. What is left of its products,
    the gradients of input and weights, is outside the chain.

    Parameters
    ----------
    case
        The case.
    passed
        ``forward`` (nothing is kept for a backward pass), ``forward_backward`` (all gradients, that of the input too),
        or ``train_step`` (no gradient of the input; a linear head; weights that move).
    bytes_per_element
        Of a number in the run's dtype.
    ceilings
        Of the machine, in the same dtype, threads and device.
    """
    spec = case.spec
    chains = 1 if passed == "forward" else 2
    recurrent = spec.num_layers * 2 * spec.num_directions * spec.num_gates * spec.hidden_size**2 * case.real_steps()
    flops = product_flops(case, passed)
    moved = bytes_per_element * _numbers_moved(case, passed)
    steps = chains * _steps_in_sequence(case)
    barrier, work = _step_seconds(case, bytes_per_element, ceilings)
    steps_of_layers = chains * spec.num_layers * case.longest()
    terms = {
        COMPUTE: flops / ceilings.product,
        MEMORY: moved / ceilings.copy,
        CHAIN: (flops - chains * recurrent) / ceilings.product + steps * barrier + steps_of_layers * work,
    }
    largest = max((COMPUTE, MEMORY), key=lambda name: terms[name])
    return Limit(
        seconds=max(terms.values()),
        binding=CHAIN if terms[CHAIN] > CHAIN_MARGIN * terms[largest] else largest,
        compute_seconds=terms[COMPUTE],
        memory_seconds=terms[MEMORY],
        chain_seconds=terms[CHAIN],
        flops=flops,
        pointwise_flops=_pointwise_flops(case),
        bytes=moved,
        steps=steps,
        step_seconds=barrier + work,
    )


def product_flops(case: BenchmarkCase, passed: str) -> float:
    """Floating-point operations of a pass in its matrix products, a multiplication and an addition being two."""
    spec, real_steps = case.spec, case.real_steps()
    rows = spec.num_directions * spec.num_gates * spec.hidden_size
    forward = sum(
        2 * rows * (spec.layer_input_size(layer) + spec.hidden_size) * real_steps for layer in range(spec.num_layers)
    )
    if passed == "forward":
        return forward
    if passed == "forward_backward":
        return 3 * forward
    head = 3 * 2 * case.classes * spec.output_size * real_steps
    return 3 * forward - 2 * rows * spec.input_size * real_steps + head


def _pointwise_flops(case: BenchmarkCase) -> float:
    """Operations of a forward pass besides its products: an estimate, apart from the limit."""
    spec = case.spec
    each = POINTWISE_FLOPS[spec.num_gates] * spec.num_directions * spec.hidden_size
    return float(spec.num_layers * each * case.real_steps())


def _numbers_moved(case: BenchmarkCase, passed: str) -> int:
    """Numbers that a pass must move between memory and processor."""
    spec = case.spec
    places = case.batch * case.seq_len
    moved = sum(_layer_numbers(case, layer, passed) for layer in range(spec.num_layers))
    if passed != "train_step":
        return moved
    rows = spec.num_directions * spec.num_gates * spec.hidden_size
    kernels = sum(rows * (spec.layer_input_size(layer) + spec.hidden_size) for layer in range(spec.num_layers))
    head = case.classes * spec.output_size
    # The first layer writes no gradient of its input. The head is read forward and backward and its gradient written;
    # it reads the output and writes its gradient. Every kernel is written once more when it moves.
    return moved - places * spec.input_size + 3 * head + 2 * places * spec.output_size + kernels + head


def _layer_numbers(case: BenchmarkCase, layer: int, passed: str) -> int:
    """Numbers that a layer must move: its weights once, its input and output once, and what backward is left."""
    spec = case.spec
    gates, width, places = spec.num_gates, spec.layer_input_size(layer), case.batch * case.seq_len
    units = spec.num_directions * spec.hidden_size
    kernels = gates * units * (width + spec.hidden_size)
    kept = 0 if passed == "forward" else KEPT_FOR_BACKWARD[gates]
    forward = kernels + 2 * gates * units + places * width + places * units + kept * places * units
    if passed == "forward":
        return forward
    backward = 2 * kernels + places * units * (kept + 2) + 2 * places * width + 3 * places * gates * units
    return forward + backward


def _steps_in_sequence(case: BenchmarkCase) -> int:
    """How many steps of a pass follow one another, over all layers."""
    layers, longest = case.spec.num_layers, case.longest()
    one_behind_another = case.spec.num_directions == 1 and longest > 0
    return longest + layers - 1 if one_behind_another else layers * longest


def _step_seconds(case: BenchmarkCase, bytes_per_element: int, ceilings: Ceilings) -> tuple[float, float]:
    """The least time of one step of a layer, its directions at once: a synchronisation; and the longest of its product,
    of reading its weights if they do not stay on the chip, and of moving gates and states.
    """
    spec = case.spec
    gates, hidden_size = spec.num_gates, spec.hidden_size
    longest = case.longest()
    rows = case.real_steps() / longest if longest else 0.0  # the mean number of rows that are still running
    weights = bytes_per_element * spec.num_directions * gates * hidden_size**2
    product = 2 * spec.num_directions * gates * hidden_size**2 * rows / ceilings.product
    reading = 0.0 if weights <= ceilings.on_chip else weights / ceilings.copy
    moving = bytes_per_element * rows * spec.num_directions * hidden_size * (gates + 1) / ceilings.copy
    barrier = _hopper_barrier(weights / spec.num_directions) if ceilings.barrier is None else ceilings.barrier
    return barrier, max(product, reading, moving)


def _hopper_barrier(weights_bytes: float) -> float:
    """Published seconds of the smallest synchronisation around a direction's recurrent weights."""
    return next(seconds for most, seconds in HOPPER_BARRIERS if weights_bytes <= most)
