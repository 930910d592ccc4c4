"""The commands that start something: run, verify, demo."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer

from config.faults import Faults
from config.loader import Loaded, load
from config.plugins import Schemas
from storage.errors import StoreError
from supervisors import Transient

Run = Callable[[Loaded], Awaitable[int]]
ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", envvar="PRODAGENT_CONFIG", help="The agent's configuration.", metavar="FILE")
]
DEFAULT = Path("prodagent.toml")
NAME = "run_agent.py"
STORE_UNUSABLE = 4
CONFIG_WRONG = 78


def program(run: Run, schemas: Schemas, refusals: tuple[type[Exception], ...]) -> typer.Typer:
    """Return the whole program. `run` runs an agent; `refusals` are what it raises for a configuration that will not do."""
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
        try:
            loaded = load(config, schemas)
            _log_to_stderr(loaded.settings.agent.log_level)
            code = asyncio.run(_as_int(run(loaded)))
        except (Faults, *refusals) as error:
            _end(str(error), CONFIG_WRONG)
        except (StoreError, Transient) as error:
            _end(str(error), STORE_UNUSABLE)
        raise typer.Exit(code)

    return app


async def _as_int(work: Awaitable[int]) -> int:
    return await work


def _end(text: str, code: int) -> None:
    print(text, file=sys.stderr)
    raise typer.Exit(code)


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", stream=sys.stderr
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
