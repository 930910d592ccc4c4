"""One command under way: its configuration, its way of printing, its end."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
import typer

from config.faults import Faults
from config.loader import Loaded, load
from config.secret import SecretError
from services.console.exits import Exit, Stop
from storage.engine import Connection
from storage.engines.base import Reader
from storage.engines.opening import open_reader
from storage.errors import StoreAway, StoreError, named
from storage.migrate import require_current
from storage.schema import AGENT
from storage.views import Unknown

if TYPE_CHECKING:  # a run agent prints no tables
    from rich.console import Console, RenderableType

T = TypeVar("T")

ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", envvar="PRODAGENT_CONFIG", help="The agent's configuration.", metavar="FILE")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change, change nothing.")]
DEFAULT = Path("prodagent.toml")
WIDE = 240
"""Columns of a table that goes into a file or a pipe: no word of it is broken in two."""


class Session:
    """What a command prints with and reads from."""

    def __init__(self, config: Path, *, json: bool) -> None:
        self.json = json
        self._config = config
        self._loaded: Loaded | None = None

    @property
    def loaded(self) -> Loaded:
        """The configuration; raises Stop 78 with everything that is wrong with it."""
        if self._loaded is None:
            try:
                self._loaded = load(self._config)
            except Faults as faults:
                raise Stop(Exit.BAD_CONFIG, str(faults)) from None
        return self._loaded

    @property
    def state(self) -> Path:
        """The directory of agent.json."""
        return self.loaded.base / self.loaded.settings.agent.state

    def read(self, query: Callable[[Connection], T]) -> T:
        """Ask the store without holding it: the agent may run, hang or be dead."""
        reader: Reader | None = None
        try:
            reader = open_reader(self.loaded.store_url(), threads=1)
            reader.read_now(lambda connection: require_current(connection, AGENT))
            return reader.read_now(query)
        except Unknown as error:
            raise Stop(Exit.FAILED, str(error)) from None
        except SecretError as error:
            raise Stop(Exit.BAD_CONFIG, str(error)) from None
        except StoreError as error:
            raise Stop(Exit.NO_STORE, str(named(error, self.loaded.settings.agent.store))) from None
        except StoreAway as error:
            raise Stop(Exit.NO_STORE, str(error)) from None
        finally:
            if reader is not None:
                reader.close_now()

    def show(self, answer: object, table: "Callable[[], RenderableType]") -> None:
        """Print the answer: as it is for programs, as a table for people."""
        if self.json:
            sys.stdout.write(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode() + "\n")
        else:
            paper().print(table())


def paper() -> "Console":
    """Return what tables are printed on: as wide as the terminal, or wide enough for a file and for `grep`."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() or "COLUMNS" in os.environ else Console(width=WIDE)


def run(work: Awaitable[T]) -> T:
    """Await something from a plain function."""

    async def waited() -> T:
        return await work

    return asyncio.run(waited())


@contextmanager
def session(config: Path, *, json: bool = False) -> Iterator[Session]:
    """Run the body of a command and end with the right code; a failure is told on stderr, with --json as JSON too."""
    try:
        yield Session(config, json=json)
    except Stop as stop:
        print(str(stop), file=sys.stderr)
        if json:
            failed: dict[str, Any] = {"error": {"text": str(stop), "exit": int(stop.code)}}
            print(msgspec.json.encode(failed).decode())
        raise typer.Exit(int(stop.code)) from None
