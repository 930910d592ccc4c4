"""The command `run`, as it is described and its words are read."""

from collections.abc import Callable

import typer

from services.console import running
from services.console.session import DEFAULT, ConfigFile, session


def run_command(agent: running.Agent) -> Callable[..., None]:
    """Return the command."""

    def run(config: ConfigFile = DEFAULT) -> None:
        """Run an agent until SIGTERM or Ctrl-C; a second one skips the orderly drain.

        Killed at any point, it goes on where it was when it is run again.

        Example: `run_agent.py run --config agent.toml`
        """
        with session(config):
            raise typer.Exit(running.run(agent, config))

    return run
