"""A line of JSON for each message between controller and worker, written on one side and checked on the other.

Both sides are this suite, but a worker holds libraries that misbehave: a line that is no reply to what was asked is a
broken protocol, after which nothing that the worker says is believed.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError

from backends.interface.gaps import DECLINED
from backends.worker import messages
from backends.worker.messages import (
    FAILED,
    NOT_DONE,
    Answer,
    Description,
    NotDone,
    WorkerReply,
    WorkerRequest,
)
from common.errors import from_validation, shown

LONGEST = 16 << 20
"""Bytes of the longest line that a worker may answer; the longest that are sent are traces of some hundred numbers."""
REQUESTS: dict[str, type[WorkerRequest[Any]]] = {
    name: kind
    for name, kind in vars(messages).items()
    if isinstance(kind, type) and issubclass(kind, WorkerRequest) and not kind.__subclasses__()
}
"""Every request by the name that it has in its line."""


class BrokenProtocol(Exception):
    """A line is no reply; the text is a part of a sentence: what must hold, and what came."""


def request_line(number: int, request: WorkerRequest[Any]) -> bytes:
    """The line of a request, which its reply names by ``number``."""
    content = {"id": number, "request": type(request).__name__, **request.model_dump(mode="json")}
    return json.dumps(content).encode() + b"\n"


def read_request(line: str) -> tuple[int, WorkerRequest[Any] | NotDone]:
    """The number of a request's line, and the request; the reply where it is none that this worker knows."""
    content = json.loads(line)
    number, name = content.pop("id"), content.pop("request")
    if name not in REQUESTS:
        return number, NotDone(FAILED, f"a request must be one of {', '.join(REQUESTS)}; got {shown(name)}")
    try:
        return number, REQUESTS[name].model_validate(content)
    except ValidationError as error:
        return number, NotDone(FAILED, str(from_validation(error, name)))


def reply_line(number: int, reply: WorkerReply | NotDone) -> str:
    """The line of the reply to the request ``number``."""
    content = asdict(reply) if isinstance(reply, NotDone) else {"status": "done", **reply.model_dump()}
    return json.dumps({"id": number, **content})


def first_line(description: Description | str) -> str:
    """A worker's first line: its framework's description, or the reason why there is no framework."""
    if isinstance(description, str):
        return json.dumps({"status": "broken", "reason": description})
    return json.dumps(description.model_dump())


class _Reason(WorkerReply):
    """The part of a line that says why something is not done."""

    reason: str


def read_description(line: bytes, name: str) -> Description | str:
    """A worker's first line, that of the backend ``name``; the reason where its framework cannot be imported.

    Raises
    ------
    BrokenProtocol
        If it is anything else.
    """
    content = _object(line)
    if content.get("status") == "broken":
        return _checked(content, _Reason).reason
    description = _checked(content, Description)
    if description.name != name:
        raise BrokenProtocol(f"its framework must be named {name!r}; got {description.name!r}")
    return description


def read_reply(line: bytes, number: int, kind: type[Answer]) -> Answer | NotDone:
    """The reply to the request ``number``, of the kind that belongs to it, or that it was not done.

    Raises
    ------
    BrokenProtocol
        If it answers another request, as a stray line does, or lacks what belongs into it.
    """
    content = _object(line)
    if type(content.get("id")) is not int or content["id"] != number:
        raise BrokenProtocol(f"its answer must be to request {number}; got {line[:60]!r}")
    status = content.get("status")
    if status == "done":
        return _checked(content, kind)
    if status not in NOT_DONE:
        raise BrokenProtocol(f"its answer must be done, {', '.join(DECLINED)} or {FAILED}; got {line[:60]!r}")
    return NotDone(status, _checked(content, _Reason).reason)


def _object(line: bytes) -> dict[str, Any]:
    """The JSON object of a line."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise BrokenProtocol(f"its answer must be a JSON object; got {line[:60]!r}")
    return content


def _checked(content: dict[str, Any], kind: type[Answer]) -> Answer:
    """The content of a line as a reply of one kind."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise BrokenProtocol(str(from_validation(error, "its answer"))) from None
