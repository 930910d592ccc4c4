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

JobId = Annotated[int, Meta(ge=1, le=2**63 - 1)]
JobIds = Annotated[list[JobId], Meta(max_length=MAX_JOBS)]
Text = Annotated[str, Meta(max_length=500)]


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every acting call may carry."""

    dry_run: bool = False


class Submission(_Body, frozen=True, kw_only=True):
    """A workflow with the archive (tar.gz, base64) of its files."""

    spec: dict[str, Any]
    sandbox: str = ""


class Chosen(_Body, frozen=True, kw_only=True):
    """Jobs by id, or all of a workflow, or all of a request."""

    jobs: JobIds = []
    workflow: Text = ""
    request: Text = ""


class Retry(Chosen, frozen=True, kw_only=True):
    """Of the jobs chosen, those whose last attempt ended with `code`, at `site`; `archived`: those that a failure archive is
    left of, after a comparison of it with the books."""

    code: Annotated[int, Meta(ge=0)] | None = None
    site: Text = ""
    archived: bool = False


class Kill(Chosen, frozen=True, kw_only=True):
    """Why."""

    reason: Text = "killed by an operator"


class JobSites(_Body, frozen=True, kw_only=True):
    """Sites where these jobs may run (none named: wherever their workflow may) and where not; neither: as their workflow says."""

    jobs: Annotated[list[JobId], Meta(min_length=1, max_length=10_000)]
    sites: list[Text] = []
    deny_sites: list[Text] = []
    reason: Text = ""


class Hold(_Body, frozen=True, kw_only=True):
    """Why."""

    reason: Text = ""


class Plain(_Body, frozen=True, kw_only=True):
    """Nothing but whether it is meant."""


class Letters(_Body, frozen=True, kw_only=True):
    """Dead letters: parked facts by id, messages of mailboxes by id. None named, to replay: all."""

    ids: JobIds = []
    mail: JobIds = []


class Debug(_Body, frozen=True, kw_only=True):
    """How long, in seconds; 0 ends it now."""

    seconds: Annotated[float, Meta(ge=0, le=86_400)] = 3600.0


class Replace(_Body, frozen=True, kw_only=True):
    """Where the class is that takes over: module:Class."""

    type: Text


class Drainage(_Body, frozen=True, kw_only=True):
    """Whether to drain, and why."""

    on: bool = True
    reason: Text = ""


class Publish(_Body, frozen=True, kw_only=True):
    """Something to tell whoever follows `Published`, now or after `delay_s` seconds; while one with the same `unique_key`
    waits, nothing is added."""

    topic: Annotated[str, Meta(min_length=1, max_length=100)]
    body: dict[str, Any] = {}
    delay_s: Annotated[float, Meta(ge=0, le=366 * 86400)] = 0.0
    unique_key: Annotated[str, Meta(max_length=100)] = ""


class Remove(_Body, frozen=True, kw_only=True):
    """Published facts by id; `confirm`: it is meant, they are gone for good."""

    ids: JobIds
    confirm: bool = False


class Forget(_Body, frozen=True, kw_only=True):
    """A subscriber that is no more; `confirm`: it is meant, what it has not read it never will."""

    subscriber: Text
    confirm: bool = False


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
