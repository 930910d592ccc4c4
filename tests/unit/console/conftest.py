"""An agent that serves, and the program that asks it, in one directory."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from services.console.commands import build
from tests.unit.admin import running
from tests.unit.admin.running import Agent

Told = Callable[..., Awaitable[Result]]


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    async with running.running(tmp_path) as started:
        yield started


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    """Run a command in the agent's directory, beside its loop."""
    app = typer.Typer(pretty_exceptions_enable=False)
    build(app)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("LOGNAME", "anna")

    async def invoke(*words: str, code: int = 0) -> Result:
        result: Result = await asyncio.to_thread(CliRunner().invoke, app, words, catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    return invoke
