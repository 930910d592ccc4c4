"""Commands that are imported when they are called: till then each has a name and a sentence."""

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand
from typer.main import get_group

Found = Callable[..., Any] | typer.Typer
"""What a command runs, or a group of commands."""


class Later(TyperCommand):
    """A command whose callback imports what is meant; that reads its words and runs in its place."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        assert self.name
        assert self.callback is not None
        return built(self.name, self.callback()).make_context(info_name, args, parent=parent, **extra)


def add(app: typer.Typer, name: str, text: str, find: Callable[[], Found]) -> None:
    """Add a command or a group of commands; `find` imports it, `text` is its first sentence."""

    def load() -> Any:  # a function, as typer wants it
        return find()

    app.command(name=name, cls=Later, help=text)(load)


def built(name: str, found: Found) -> TyperCommand:
    """Return a command or a group of commands that reads its words."""
    shell = typer.Typer(rich_markup_mode="markdown")
    if isinstance(found, typer.Typer):
        shell.add_typer(found, name=name)
    else:
        shell.command(name=name)(found)
    made: Any = get_group(shell).commands[name]
    return made  # type: ignore[no-any-return]  # a group of typer is no TyperCommand by type, but by use
