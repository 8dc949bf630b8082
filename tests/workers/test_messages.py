"""Messages between controller and worker: what is asked arrives as it was, and what is no message is told apart."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from backends.worker.__main__ import Desk
from backends.worker.lines import REQUESTS, BrokenProtocol, read_reply, read_request, reply_line, request_line
from backends.worker.messages import (
    AskedPlain,
    AskedRecurrent,
    Done,
    ListedProbes,
    ListProbes,
    NotDone,
    OpenNetwork,
    OpenSystem,
    OtherResults,
    Ping,
    RunCase,
    Samples,
    StepNumbers,
    TrainedSteps,
    WorkerRequest,
)
from common.models.optimizers import OptimizerSettings
from common.models.specification import SequenceModel
from common.models.streaming import Streaming
from tests.cases import a_case
from tests.workers.misbehaving import load

ADAM = OptimizerSettings(name="adam", learning_rate=0.1, clip_norm=2.0)
RECURRENT = AskedRecurrent(
    name="rnn", spec=a_case("gru").spec, parts=("rnn.w",), case=Path("case"), dtype="float64", result=Path("result")
)
FIELDS: dict[str, Any] = {
    "layers": (RECURRENT,),
    "spec": a_case("gru").spec,
    "system": SequenceModel(rnn=a_case("lstm").spec, num_embeddings=6, readout="steps", classes=5, hidden=(3,)),
    "optimizer": ADAM,
    "lengths": (3, 1),
    "others": {"again": Path("again")},
    "question": "decode",
    "streaming": Streaming(chunk=3, look_ahead=2),
    "handles": ("a", "b"),
    "forward": True,
    "gradients": False,
    "plain": (AskedPlain(name="head", kind="dense", result=Path("plain")),),
} | dict.fromkeys(("seconds", "learning_rate", "telling_rate"), 0.1)
PATHS = ("case", "file", "result", "weights", "state", "batches", "answers", "training")
NUMBERS = ("least", "most", "seq_len", "threads", "num_bytes", "max_steps", "beam", "rounds")
TEXTS = ("name", "format", "config", "implementation", "dtype", "device", "lane", "handle", "work")


def filled(kind: type[WorkerRequest[Any]]) -> WorkerRequest[Any]:
    """A request with something in every field."""
    values = FIELDS | {name: Path("a\udcff") / name for name in PATHS}  # not UTF-8, as a name of a file may be
    values |= dict.fromkeys(NUMBERS, 7) | dict.fromkeys(TEXTS, "text")
    values |= {"batch": Path("batch") if kind in (OpenSystem, OpenNetwork) else 7}
    values |= {"spec": FIELDS["system"]} if kind is OpenNetwork else {}
    return kind(**{name: values[name] for name in kind.model_fields})


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_arrives_as_it_was_sent(name: str) -> None:
    request = filled(REQUESTS[name])
    line = request_line(3, request)
    assert line.count(b"\n") == 1
    assert read_request(line.decode()) == (3, request)


def test_a_worker_has_an_answer_to_every_request_of_the_kind_that_belongs_to_it() -> None:
    desk = Desk(load())
    assert desk.answers.keys() == set(REQUESTS.values())
    assert RunCase.reply_kind() is OtherResults
    assert all(kind.reply_kind().model_config["strict"] for kind in REQUESTS.values())
    listed = desk.answer(ListProbes())
    assert isinstance(listed, ListedProbes)
    assert "halves-are-swapped" in {probe.name for probe in listed.probes}
    assert desk.answer(Ping()) == Done()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"request": "Stop"}, "a request must be one of Ping, "),
        ({"request": "Ping", "loudly": True}, "Ping must have no unknown keys; got 'loudly'"),
        ({"request": "Observe"}, "Observe must have the key 'name'; it is missing"),
    ],
)
def test_a_request_that_a_worker_does_not_know_is_not_done(content: dict[str, Any], sentence: str) -> None:
    number, reply = read_request(json.dumps({"id": 5} | content))
    assert number == 5
    assert isinstance(reply, NotDone)
    assert (reply.status, sentence in reply.reason) == ("failed", True)


def test_a_reply_arrives_as_it_was_sent_and_its_unknown_keys_are_left_alone() -> None:
    steps = TrainedSteps(steps=[StepNumbers(loss=math.inf, accuracy=0.5, gradient_norm=1e-300)])
    assert read_reply(reply_line(1, steps).encode(), 1, TrainedSteps) == steps
    refused = NotDone("not offered", "it was slow")
    assert read_reply(reply_line(2, refused).encode(), 2, Done) == refused
    more = json.loads(reply_line(3, Done())) | {"mood": "good"}
    assert read_reply(json.dumps(more).encode(), 3, Ping.reply_kind()) == Done()


@pytest.mark.parametrize("samples", [[], [-1.0], [math.nan], ["1"], None])
def test_samples_that_are_no_times_are_no_reply(samples: object) -> None:
    line = json.dumps({"id": 1, "status": "done", "samples": samples}).encode()
    with pytest.raises(BrokenProtocol, match=r"^its answer: samples"):
        read_reply(line, 1, Samples)


def test_a_request_of_wrong_kinds_is_never_sent() -> None:
    with pytest.raises(ValidationError, match="result"):
        RunCase.model_validate({"case": "a", "implementation": "b", "dtype": "float32", "device": "cpu", "result": 3})
