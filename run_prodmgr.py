#!/usr/bin/env python3
"""Run a ProdMgr, make its tokens, and make and show its requests.

Exit codes: 0 done, 1 it could not be done (the reason is printed), 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import asyncio
import logging
import os
import ssl
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from enum import StrEnum
from typing import Annotated, Any, NoReturn, TypeVar

import msgspec
import typer
from rich.console import Group
from rich.text import Text

from backends.prodmgr.base import Ledger, ProdMgrError, RequestDetail, RequestInfo
from backends.prodmgr.http import HttpProdMgr
from backends.prodmgr.wire import TokenCall
from config.faults import Faults
from config.secret import SecretError, resolve
from config.workflow_file import load_workflow
from domain.policy import PolicySettings, RequestVerb
from services.console import tables
from services.console.session import paper
from services.prodmgr.accountant import book_token
from services.prodmgr.identity import Caller, digest, new_token
from services.prodmgr.server import Server, serve, write_port
from storage.accounts import PRODMGR, Scope
from storage.errors import StoreAway, StoreError
from storage.store import Store

T = TypeVar("T")

EVENTS = tuple(f">{name}" for name in Ledger.__struct_fields__)
AGENTS = ("agent", ">allocations", ">leased", ">merged", ">lost", ">running", ">queued")

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
tokens = typer.Typer(help="Make tokens, with which agents and managers prove who they are.", no_args_is_help=True)
requests = typer.Typer(help="Make, show and steer requests of a running ProdMgr.", no_args_is_help=True)
app.add_typer(tokens, name="token")
app.add_typer(requests, name="request")

Url = Annotated[str, typer.Option(help="Address of the ProdMgr, such as http://127.0.0.1:8400.", envvar="PRODMGR_URL")]
TokenFile = Annotated[
    Path, typer.Option(help="File with a token of scope manager.", envvar="PRODMGR_TOKEN_FILE", dir_okay=False)
]
StoreUrl = Annotated[
    str,
    typer.Option(
        help="Where the accounts are kept: sqlite:///state/prodmgr.db or mysql://user:${PASSWORD}@host/database."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")]
Number = Annotated[int, typer.Argument(help="Number of the request.", min=1)]
Reason = Annotated[str, typer.Option(help="Why, for those who look at it later.")]


class OnLoss(StrEnum):
    REALLOCATE = "reallocate"
    EXPAND = "expand"


def main() -> None:
    """Entry point."""
    app()


@app.command()
def run(
    store: StoreUrl,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 8400,
    port_file: Annotated[Path | None, typer.Option(help="File to write the port to once it listens.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain (PEM).", exists=True, dir_okay=False)] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Private key (PEM).", exists=True, dir_okay=False)] = None,
    plain_http: Annotated[bool, typer.Option(help="Allow other hosts in without TLS: tokens travel readable.")] = False,
) -> None:
    """Serve until SIGTERM or Ctrl-C; calls under way are finished first."""
    if (tls_cert is None) != (tls_key is None):
        _bad("--tls-cert and --tls-key: got one of them, expected both or none")
    if tls_cert is None and host not in ("127.0.0.1", "::1", "localhost") and not plain_http:
        _bad(f"--host: got {host!r} without TLS; expected 127.0.0.1, or --tls-cert and --tls-key, or --plain-http")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")

    def ready(server: Server) -> None:
        if port_file is not None:
            write_port(port_file, server.port)
        print(f"ProdMgr listens on {server.address}", flush=True)

    try:
        asyncio.run(serve(Server(resolve(store), host, port, tls=_tls(tls_cert, tls_key)), ready))
    except (StoreError, StoreAway, SecretError, OSError) as error:
        _failed(str(error))
    print("ProdMgr has stopped", flush=True)


@tokens.command("new")
def token_new(
    agent: Annotated[str, typer.Option(help="Name of the agent or manager that the token stands for.")],
    scope: Annotated[Scope, typer.Option(help="agent: take and report work; manager: make and steer requests.")],
    store: Annotated[str, typer.Option(help="Store of a ProdMgr that is not running.")] = "",
    url: Annotated[str, typer.Option(help="Address of a running ProdMgr.", envvar="PRODMGR_URL")] = "",
    token_file: Annotated[Path | None, typer.Option(help="With --url: file with a token of scope manager.")] = None,
    file: Annotated[Path | None, typer.Option(help="Write the token to this file, readable by you alone.")] = None,
    days: Annotated[float, typer.Option(help="Days until it expires.", min=0.001, max=3650)] = 365.0,
) -> None:
    """Make a token. It is shown once: only its sha256 is kept. Give --store (not running) or --url (running)."""
    if bool(store) == bool(url):
        _bad("--store, --url: expected one of them")
    token = new_token()
    plain = {"call_id": _call_id(), "agent": agent, "scope": scope.value, "sha256": digest(token), "days": days}
    try:
        call = msgspec.convert(plain, TokenCall)
    except msgspec.ValidationError as error:
        _bad(f"--agent {agent!r}: {error}")
    handle = None if file is None else _private(file)
    if store:
        _run(_book(store, call))
    else:
        _ask(url, token_file or _bad("--token-file: expected with --url"), lambda desk: desk.add_token(call))
    if handle is None:
        print(token)
    else:
        with os.fdopen(handle, "w") as out:
            out.write(token + "\n")


@requests.command("add")
def request_add(
    workflow: Annotated[Path, typer.Argument(help="Workflow file (.toml or .json); its files travel along.")],
    url: Url,
    token_file: TokenFile,
    lease_hours: Annotated[float, typer.Option(help="How long an agent may be silent.", min=0.0003, max=720)] = 24.0,
    jobs: Annotated[int, typer.Option(help="Jobs' worth of events in one allocation.", min=1)] = 10,
    complete_below: Annotated[float, typer.Option(help="Missing share that counts as complete.", min=0, max=1)] = 0.01,
    on_loss: Annotated[OnLoss, typer.Option(help="What becomes of lost events.")] = OnLoss.REALLOCATE,
    suspend_after: Annotated[int, typer.Option(help="Suspend when events are lost this often.", min=1)] = 3,
    prefer: Annotated[list[str] | None, typer.Option(help="AGENT=PRIORITY: a priority of its own.")] = None,
    as_json: Json = False,
) -> None:
    """Make a request from a workflow file."""
    try:
        loaded = load_workflow(workflow)
    except Faults as faults:
        _bad(str(faults))
    plain = {"lease_s": lease_hours * 3600, "jobs_per_allocation": jobs, "complete_below": complete_below}
    settings = msgspec.convert({**plain, "on_loss": on_loss.value, "suspend_after": suspend_after}, PolicySettings)
    preferences = dict(_preference(text) for text in prefer or [])
    call_id = _call_id()

    async def make(desk: HttpProdMgr) -> RequestDetail:
        sandbox = await desk.upload(loaded.sandbox) if loaded.sandbox else ""
        return await desk.make(call_id, loaded.spec, sandbox_sha256=sandbox, settings=settings, preferences=preferences)

    _show(_ask(url, token_file, make), as_json)


@requests.command("list")
def request_list(url: Url, token_file: TokenFile, as_json: Json = False) -> None:
    """List all requests with their ledgers."""
    found = _ask(url, token_file, lambda desk: desk.requests())
    if as_json:
        _print_json(found)
        return
    rows = [(row.id, row.name, tables.state(row.state.value), row.priority, *_events(row)[:-1]) for row in found]
    heads = (">request", "name", "state", ">priority", *EVENTS[:-1])
    paper().print(tables.table(heads, rows, nothing="no request yet"))


@requests.command("show")
def request_show(number: Number, url: Url, token_file: TokenFile, as_json: Json = False) -> None:
    """Show one request: its ledger, who works on it, the latest rulings of its policy."""
    _show(_ask(url, token_file, lambda desk: desk.request(number)), as_json)


@requests.command("suspend")
def request_suspend(
    number: Number, url: Url, token_file: TokenFile, reason: Reason = "", as_json: Json = False
) -> None:
    """Hand out nothing more of a request; what is leased goes on."""
    _change(number, RequestVerb.SUSPEND, url, token_file, reason, as_json)


@requests.command("resume")
def request_resume(number: Number, url: Url, token_file: TokenFile, reason: Reason = "", as_json: Json = False) -> None:
    """Hand out work of a suspended request again."""
    _change(number, RequestVerb.RESUME, url, token_file, reason, as_json)


@requests.command("fail")
def request_fail(number: Number, url: Url, token_file: TokenFile, reason: Reason = "", as_json: Json = False) -> None:
    """Give a request up for good."""
    _change(number, RequestVerb.FAIL, url, token_file, reason, as_json)


async def _book(url: str, call: TokenCall) -> None:
    store = await Store.open(resolve(url), PRODMGR)
    try:
        await store.write(lambda tx: book_token(tx, Caller("command line", Scope.MANAGER), call))
    finally:
        await store.close()


def _change(number: int, verb: RequestVerb, url: str, token_file: Path, reason: str, as_json: bool) -> None:
    call_id = _call_id()
    _show(_ask(url, token_file, lambda desk: desk.change(call_id, number, verb, reason)), as_json)


def _ask(url: str, token_file: Path, question: Callable[[HttpProdMgr], Awaitable[T]]) -> T:
    """Ask a running ProdMgr; end with code 1 if it cannot be reached or refuses, 2 if it finds bad input."""
    try:
        token = token_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        _bad(f"--token-file {token_file}: {error}")
    if not token or not token.isascii() or not token.isprintable():
        _bad(f"--token-file {token_file}: expected one line with a token")

    async def ask() -> T:
        desk = HttpProdMgr(url, token)
        try:
            return await question(desk)
        finally:
            await desk.close()

    return _run(ask())


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except ProdMgrError as error:
        if error.status in (400, 413):
            _bad(str(error))
        _failed(str(error))
    except StoreError as error:
        _failed(str(error))


def _show(request: RequestDetail, as_json: bool) -> None:
    if as_json:
        _print_json(request)
        return
    head = Text.assemble(
        (f"request {request.id}", "bold"), f" {request.name}: ", (request.state.value, "bold"), f" {request.reason}"
    )
    since = f"since {tables.clock(request.since)} UTC, made by {request.created_by}, priority {request.priority}"
    shares = [
        (share.agent, *map(tables.many, (share.allocations, share.leased, share.merged, share.lost)),
         *map(tables.many, (share.progress.running, share.progress.queued)))
        for share in request.agents
    ]  # fmt: skip
    notes = [
        Text(f"{tables.clock(note.at)} {note.agent} allocation {note.allocation}: {note.verdict.value}, {note.reason}")
        for note in request.rulings
    ]
    agents = [Text(""), tables.table(AGENTS, shares)] if shares else []
    ledger = tables.table(EVENTS, [_events(request)])
    paper().print(Group(head, Text(since), Text(""), ledger, *agents, Text(""), *notes))


def _events(request: RequestInfo) -> list[str]:
    """Return where the events of a request are, in the order of EVENTS."""
    return [tables.many(getattr(request.ledger, name)) for name in Ledger.__struct_fields__]


def _print_json(value: object) -> None:
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _preference(text: str) -> tuple[str, int]:
    agent, _, priority = text.partition("=")
    if not agent or not priority.isascii() or not priority.isdigit() or int(priority) > 9999:
        _bad(f"--prefer: got {text!r}, expected AGENT=PRIORITY with a priority of at most 9999")
    return agent, int(priority)


def _private(path: Path) -> int:
    """Open a file that only its owner can read."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.fchmod(handle, 0o600)
    except OSError as error:
        _bad(f"--file {path}: {error.strerror}")
    return handle


def _tls(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if cert is None or key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key)
    except (ssl.SSLError, OSError) as error:
        _bad(f"--tls-cert, --tls-key: {error}")
    return context


def _call_id() -> str:
    return f"cli:{uuid.uuid4()}"


def _bad(text: str) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(2)


def _failed(text: str) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    main()
