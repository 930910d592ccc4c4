"""The command that runs an agent, and the way to it and to all others."""

import contextlib
import faulthandler
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from services.console.exits import Exit, Stop

if TYPE_CHECKING:
    from config.loader import Loaded
    from services.simulation.life import Build


class Agent(NamedTuple):
    """What an agent is: `run` runs one; `refusals`, beside Faults, tell of a configuration that will not do; `build` makes
    the tree of a simulated one."""

    run: "Callable[[Loaded], Awaitable[int]]"
    refusals: tuple[type[Exception], ...]
    build: "Build"


def main(agent: Callable[[], Agent]) -> None:
    """Do what the words of the command line say, and end. `agent` imports what `run` and `simulate` need, and no other does.

    `run --config FILE`, as service managers say it, is understood at once: what reads all other words takes 0.3 s to import.
    """
    match sys.argv[1:]:
        case ["run", "--config" | "-c", file]:
            try:
                sys.exit(run(agent(), Path(file)))
            except Stop as stop:
                print(str(stop), file=sys.stderr)
                sys.exit(int(stop.code))
    from services.console.program import program

    program(agent)()


def run(agent: Agent, config: Path) -> int:
    """Run an agent to its end and return the exit code; raise Stop when it cannot begin or go on."""
    import asyncio

    from backends.opening import settings_of  # by now `agent` has imported all this; other commands need none of it
    from config.faults import Faults
    from config.loader import load
    from storage.errors import StoreError
    from supervisors import Transient

    wrong: tuple[type[Exception], ...] = (Faults, *agent.refusals)
    faulthandler.enable()
    try:
        loaded = load(config, settings_of)
        _log_to_stderr(loaded.settings.agent.log_level)
        wait_without_threads()
        return asyncio.run(_as_int(agent.run(loaded)))
    except wrong as error:
        raise Stop(Exit.BAD_CONFIG, str(error)) from None
    except (StoreError, Transient) as error:
        raise Stop(Exit.NO_STORE, str(error)) from None


def wait_without_threads() -> None:
    """Have asyncio wait for children as Python 3.12 does, without a thread for each, where there is pidfd_open(2) (Linux 5.3).

    A child then costs 0.23 ms of CPU here instead of 0.37, and none hangs because no thread can be started.
    """
    if sys.version_info < (3, 12):
        import asyncio

        with contextlib.suppress(OSError, AttributeError):
            os.close(os.pidfd_open(os.getpid()))
            asyncio.set_child_watcher(asyncio.PidfdChildWatcher())


async def _as_int(work: Awaitable[int]) -> int:
    return await work


def _log_to_stderr(level: str) -> None:
    stderr = logging.StreamHandler(sys.stderr)
    stderr.setFormatter(utc_lines())
    logging.basicConfig(level=level.upper(), handlers=[stderr])
    for chatty in ("alembic", "asyncssh"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def utc_lines() -> logging.Formatter:
    """Return what makes lines of a log: their times are UTC, as all others that are shown."""
    lines = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    lines.converter, lines.default_msec_format = time.gmtime, "%s.%03dZ"
    return lines
