"""The commands that start something: run, verify, demo."""

import asyncio
import faulthandler
import logging
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer

from backends.channel.hosts import Hosts
from backends.opening import open_storages, settings_of
from config.faults import Faults
from config.loader import Loaded, load
from services import verify
from services.console.commands import build
from services.console.exits import Exit, Stop
from services.console.session import DEFAULT, AsJson, ConfigFile, session
from services.demo.options import DemoOptions
from storage.engines.opening import open_reader
from storage.errors import StoreError
from supervisors import SystemClock, Transient

Run = Callable[[Loaded], Awaitable[int]]
NAME = "run_agent.py"


def program(
    run: Run, refusals: tuple[type[Exception], ...], simulate: Callable[..., None] | None = None
) -> typer.Typer:
    """Return the whole program. `run` runs an agent; `refusals`, beside Faults, tell of a configuration that will not do;
    `simulate` is the command that runs one in a world of its own."""
    wrong: tuple[type[Exception], ...] = (Faults, *refusals)
    app = typer.Typer(
        name=NAME,
        help="One resilient process that turns a request for N events into verified, catalogued, delivered files.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
    )

    @app.command(name="run")
    def run_command(config: ConfigFile = DEFAULT) -> None:
        """Run an agent until SIGTERM or Ctrl-C; a second one skips the orderly drain.

        Killed at any point, it goes on where it was when it is run again.

        Example: `run_agent.py run --config agent.toml`
        """
        faulthandler.enable()
        with session(config):
            try:
                loaded = load(config, settings_of)
                _log_to_stderr(loaded.settings.agent.log_level)
                code = asyncio.run(_as_int(run(loaded)))
            except wrong as error:
                raise Stop(Exit.BAD_CONFIG, str(error)) from None
            except (StoreError, Transient) as error:
                raise Stop(Exit.NO_STORE, str(error)) from None
            raise typer.Exit(code)

    app.command(name="verify")(verify_command)
    app.command(name="demo")(demo_command)
    if simulate is not None:
        app.command(name="simulate")(simulate)
    build(app)
    return app


def verify_command(
    config: ConfigFile = DEFAULT,
    deep: Annotated[bool, typer.Option("--deep", help="Read every file through and compare its checksums.")] = False,
    rows_only: Annotated[
        bool, typer.Option("--rows-only", help="Look at the books alone, not at the storages.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Prove that every event is there exactly once: all laws from the books, then the files themselves.

    Reads only; the agent may run, hang or be dead. Ends with 1 if a law is broken.

    Example: `run_agent.py verify --deep --config agent.toml`
    """
    with session(config, json=json) as open_session:
        loaded = open_session.loaded
        hosts = Hosts(loaded.settings.hosts)
        offered = {"clock": SystemClock(), "hosts": hosts}
        storages = None if rows_only else open_storages(loaded, offered)

        async def check() -> verify.Verification:
            reader = open_reader(loaded.store_url())
            try:
                return await verify.verify(reader, storages, deep=deep)
            finally:
                await reader.close()
                for storage in (storages or {}).values():
                    await storage.close()
                await hosts.close()

        try:
            found = asyncio.run(check())
        except (StoreError, Transient) as error:
            raise Stop(Exit.NO_STORE, str(error)) from None
        open_session.show(found, lambda: verify.shown(found))
        raise typer.Exit(int(Exit.OK if found.holds else Exit.FAILED))


def demo_command(
    events: Annotated[int, typer.Option(help="How many events are requested.")] = 20_000,
    example: Annotated[str, typer.Option(help="zmumu (Pythia 8, ROOT files) or plain (no physics).")] = "zmumu",
    directory: Annotated[Path, typer.Option(help="Where everything of the demonstration lies.")] = Path("demo-run"),
    chaos: Annotated[bool, typer.Option("--chaos", help="Kill and break things on the way.")] = False,
    seed: Annotated[int | None, typer.Option(help="Of the moments at which things are broken.")] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Let everything run on at the end, to look at its pages.")
    ] = False,
    targets: Annotated[
        Path | None,
        typer.Option(help="TOML tables of hosts and of the targets of alpha and beta, in place of local processes."),
    ] = None,
) -> None:
    """From a request to delivered physics, on this machine: a ProdMgr, an agent, three sites, real jobs.

    Example: `run_agent.py demo --events 2000 --chaos`
    """
    from services.demo.run import run_demo  # only here: it brings the whole show along

    if example not in ("zmumu", "plain"):
        raise typer.BadParameter(f"got {example!r}, expected zmumu or plain", param_hint="--example")
    options = DemoOptions(
        events=events,
        example="plain" if example == "plain" else "zmumu",
        directory=directory,
        chaos=chaos,
        seed=seed,
        keep=keep,
        targets=targets,
    )
    raise typer.Exit(run_demo(options))


async def _as_int(work: Awaitable[int]) -> int:
    return await work


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", stream=sys.stderr
    )
    for chatty in ("alembic", "asyncssh"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
