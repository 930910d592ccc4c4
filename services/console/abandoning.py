"""The verb for a target that is gone for good."""

import asyncio
import getpass
from typing import Annotated

import typer

from services.console.acting import Done
from services.console.exits import Exit, Stop
from services.console.session import DEFAULT, AsJson, ConfigFile, DryRun, Session, session
from storage.errors import StoreAway, StoreError
from storage.store import Store
from storage.stranded import abandon as give_up
from storage.stranded import at


def abandon(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Its name; it need not be configured any more.")],
    dry_run: DryRun = False,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Give up every job that a target holds, to try them elsewhere; the agent must not run.

    For a target that is gone for good. One that comes back is better switched off (`enabled = false`) and waited for.

    Example: `run_agent.py abandon old-cluster --dry-run`
    """
    with session(config, json=json) as say:
        held = say.read(lambda c: at(c, target))
        if held and not dry_run:
            held = _give_up(say, target)
        if not held:
            raise Stop(Exit.FAILED, f"nothing to do: no job is at a target {target!r}")
        would = "would be" if dry_run else "are"
        text = f"{len(held)} jobs {would} given up at {target} and tried elsewhere"
        say.show(Done(changed=held, dry_run=dry_run), lambda: text)


def _give_up(say: Session, target: str) -> list[int]:
    async def work() -> list[int]:
        store = await Store.open(say.loaded.store_url())
        try:
            return await store.write(lambda tx: give_up(tx, target, getpass.getuser()), sender="console")
        finally:
            await store.close()

    try:
        return asyncio.run(work())
    except (StoreError, StoreAway) as error:
        raise Stop(Exit.NO_STORE, str(error)) from None
