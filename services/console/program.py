"""The program: `run`, `simulate` and the operator's verbs, each imported when it is called."""

from collections.abc import Callable

import typer

from services.console.commands import build
from services.console.later import Found, add
from services.console.running import Agent

NAME = "run_agent.py"


def program(agent: Callable[[], Agent]) -> typer.Typer:
    """Return the whole program. `agent` imports what `run` and `simulate` need, and no other command does."""
    app = typer.Typer(name=NAME, no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)

    def run() -> Found:
        from services.console.starting import run_command

        return run_command(agent())

    def simulate() -> Found:
        from services.simulation.command import simulate_command

        return simulate_command(agent().build)

    add(app, "run", "Run an agent until SIGTERM or Ctrl-C; a second one skips the orderly drain.", run)
    trial = "Try the agent in a world that a file describes: what if this site goes down for a week?"
    add(app, "simulate", trial, simulate)
    build(app)
    app.callback()(whole)
    return app


def whole() -> None:
    """One resilient process that turns a request for N events into verified, catalogued, delivered files."""
