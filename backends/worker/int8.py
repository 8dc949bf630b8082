"""A framework's own int8 kernels inside a worker: run on a case beside its float32 layer, and timed in turn."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import perf_counter as clock

import numpy as np

from backends.interface.framework import Framework
from backends.interface.gaps import Refusal
from backends.interface.layer import Implementation, inputs_of
from backends.worker.execution import Unsupported
from backends.worker.messages import Int8Times, TimeInt8
from common.case import read_case
from common.judging.precision import rounded_case
from common.tensorfile import as_bytes, write_bytes

FLOAT32 = "float32"
"""The name of the framework's float32 layer among its kernels."""


def time_int8(framework: Framework, request: TimeInt8) -> Int8Times:
    """Run every kernel once, write what each gives, and time them; raises ``Unsupported`` where there is none."""
    case = rounded_case(read_case(request.case), FLOAT32)
    offer = framework.int8_layers(case.spec)
    if isinstance(offer, Refusal):
        raise Unsupported(offer)
    native = framework.implementations[request.implementation](case.spec, FLOAT32, "cpu")
    native.load_weights(case.weights)
    native.move_inputs(inputs_of(case))
    calls: dict[str, Callable[[], None]] = {FLOAT32: _fenced(native)}
    calls[FLOAT32]()
    outputs, paths = {FLOAT32: native.extract()["output"]}, {FLOAT32: native.path()}
    for name, make in offer.items():
        layer = make(case.spec, case.weights)
        layer.move_input(case.x.astype(np.float32))
        layer.forward()
        outputs[name], paths[name], calls[name] = np.array(layer.output()), layer.path(), layer.forward
    write_bytes(request.result, as_bytes(outputs, {}), durable=False)
    return Int8Times(seconds=in_turn(calls, request.rounds, request.seconds), paths=paths)


def _fenced(layer: Implementation) -> Callable[[], None]:
    """A forward pass of a layer that waits for its results."""

    def call() -> None:
        layer.forward()
        layer.synchronise()

    return call


def in_turn(calls: dict[str, Callable[[], None]], rounds: int, seconds: float) -> dict[str, list[float]]:
    """The seconds of a call of each by name, one number a round: the mean over a block of at least ``seconds``, blocks
    in an order drawn anew in each round. The first block of each is not counted.
    """
    order = random.Random(0)
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name in order.sample(list(calls), len(calls)):
            count, started = 0, clock()
            while count == 0 or clock() - started < seconds:
                calls[name]()
                count += 1
            if number:
                taken[name].append((clock() - started) / count)
    return taken
