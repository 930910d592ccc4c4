"""What clients send: the structs of the acting calls, and how they are read."""

import base64
import binascii
import json
from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta

from actors.admin_pages.refusal import Refusal, bad_input, bad_value
from config.faults import convert_collecting
from config.workflow_file import MAX_SANDBOX

B = TypeVar("B", bound=msgspec.Struct)

MAX_BODY = 1_000_000
MAX_SUBMISSION = MAX_SANDBOX * 4 // 3 + MAX_BODY
"""Bytes: a sandbox of the largest size in base64, and the specification."""
MAX_JOBS = 100_000

JobIds = Annotated[list[Annotated[int, Meta(ge=1, le=2**63 - 1)]], Meta(max_length=MAX_JOBS)]
Text = Annotated[str, Meta(max_length=500)]


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    dry_run: bool = False


class Submission(_Body, frozen=True, kw_only=True):
    """A workflow with the archive (tar.gz, base64) of its files."""

    spec: dict[str, Any]
    sandbox: str = ""


class Retry(_Body, frozen=True, kw_only=True):
    """Jobs by id, or all that can be retried of a workflow."""

    jobs: JobIds = []
    workflow: Text = ""


class Kill(Retry, frozen=True, kw_only=True):
    """Jobs by id, or all of a workflow."""

    reason: Text = "killed by an operator"


class Hold(_Body, frozen=True, kw_only=True):
    """Why."""

    reason: Text = ""


class Plain(_Body, frozen=True, kw_only=True):
    """Nothing but whether it is meant."""


class Replay(_Body, frozen=True, kw_only=True):
    """Parked facts by id; none named: all dead letters."""

    ids: JobIds = []


async def receive(request: web.Request, kind: type[B], most: int = MAX_BODY) -> B:
    """Read a JSON body; raise Refusal 400 with everything that is wrong, 413 for a larger one. No body: {}."""
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > most:
            raise Refusal(413, "too_large", f"body: more than {most} bytes")
    if not body:
        return read({}, kind)
    if request.content_type != "application/json":
        raise Refusal(415, "not_json", f"Content-Type: got {request.content_type!r}, expected application/json")
    try:
        data = json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise bad_value("body", bytes(body[:60]).decode(errors="replace"), f"a JSON object ({error})") from None
    return read(data, kind)


def read(data: object, kind: type[B]) -> B:
    """Turn plain data into a body; raise Refusal 400 with every fault."""
    if not isinstance(data, dict):
        raise bad_value("body", data, "a JSON object")
    spec = data.get("spec")
    value, faults = convert_collecting({**data, "spec": {}} if isinstance(spec, dict) else data, kind, "body")
    if faults:
        raise bad_input(faults)
    body: B = msgspec.structs.replace(value, spec=spec) if isinstance(spec, dict) else value
    return body


def archive(text: str) -> bytes:
    """Return the sandbox; raise Refusal 400 for what is no base64, 413 for too much."""
    try:
        packed = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise bad_value("sandbox", text[:40], "a tar.gz archive in base64") from None
    if len(packed) > MAX_SANDBOX:
        raise Refusal(413, "too_large", f"sandbox: {len(packed)} bytes, at most {MAX_SANDBOX}")
    return packed
