"""The verb that proves the books and the storages behind them."""

import asyncio
from typing import Annotated

import typer
from msgspec import structs

from backends.channel.hosts import Hosts
from backends.opening import open_storages
from services import verify as proofs
from services.console.exits import Exit, Stop
from services.console.session import DEFAULT, AsJson, ConfigFile, session
from storage import configured
from storage.engines.opening import open_reader
from storage.errors import StoreError
from supervisors import SystemClock, Transient


def verify(
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
        known = open_session.loaded.settings
        settings = open_session.read(lambda c: configured.beside(c, known))
        loaded = structs.replace(open_session.loaded, settings=settings)
        hosts = Hosts(loaded.settings.hosts)
        offered = {"clock": SystemClock(), "hosts": hosts}
        storages = None if rows_only else open_storages(loaded, offered)

        async def check() -> proofs.Verification:
            reader = open_reader(loaded.store_url())
            try:
                return await proofs.verify(reader, storages, deep=deep)
            finally:
                await reader.close()
                for storage in (storages or {}).values():
                    await storage.close()
                await hosts.close()

        try:
            found = asyncio.run(check())
        except (StoreError, Transient) as error:
            raise Stop(Exit.NO_STORE, str(error)) from None
        open_session.show(found, lambda: proofs.shown(found))
        raise typer.Exit(int(Exit.OK if found.holds else Exit.FAILED))
