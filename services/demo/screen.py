"""Shows a run while it goes on: a live picture on a terminal, plain lines elsewhere."""

from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from services.demo.progress import Picture, counted

PLAIN_EVERY_S = 5.0
LINES = 9


class PlainScreen:
    """One line per happening, and one about the whole every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seconds = 0.0
        self._next = 0.0

    def show(self, picture: Picture) -> None:
        self._seconds = picture.seconds
        if picture.seconds >= self._next:
            self._next = picture.seconds + PLAIN_EVERY_S
            totals, asked = picture.totals, f"{picture.requested:,}"
            done = (
                f"generated {totals.generated:,}, merged {totals.merged:,}, delivered {totals.delivered:,} of {asked}"
            )
            self.say(f"{done}; jobs: {counted(totals.jobs)}; {picture.agent}")

    def say(self, text: str) -> None:
        self._console.print(f"{self._seconds:6.1f} s  {text}", markup=False, highlight=False, soft_wrap=True)

    def announce(self, text: str) -> None:
        """Say something that is not to be missed."""
        self.say(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class LiveScreen:
    """Bars, counts and the latest happenings, drawn over themselves."""

    def __init__(self, console: Console, title: str) -> None:
        self._title = title
        self._lines: deque[str] = deque(maxlen=LINES)
        self._picture: Picture | None = None
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def show(self, picture: Picture) -> None:
        self._picture = picture
        self._live.update(self._drawn(picture), refresh=True)

    def say(self, text: str) -> None:
        self._lines.append(f"{self._seconds:6.1f} s  {text}")

    def announce(self, text: str) -> None:
        """Say something that stays on the terminal above the picture."""
        self._live.console.print(f"{self._seconds:6.1f} s  [bold yellow]{escape(text)}", highlight=False)

    @property
    def _seconds(self) -> float:
        return self._picture.seconds if self._picture is not None else 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def _drawn(self, picture: Picture) -> RenderableType:
        totals = picture.totals
        bars = Table.grid(padding=(0, 2))
        for name in ("generated", "merged", "delivered"):
            done = getattr(totals, name)
            bar = ProgressBar(total=picture.requested, completed=min(done, picture.requested), width=46)
            bars.add_row(f"[bold]{name}", bar, f"{done:,} of {picture.requested:,} events")
        for name in ("jobs", "files", "transfers"):
            bars.add_row(f"[bold]{name}", counted(getattr(totals, name)))
        bars.add_row("[bold]request", picture.request)
        bars.add_row("[bold]agent", picture.agent)
        lines = [Text.from_markup(f"[dim]{escape(line)}", overflow="ellipsis") for line in self._lines]
        for line in lines:
            line.no_wrap = True
        return Group(Text(f"{self._title}   {picture.seconds:.0f} s", style="bold cyan"), "", bars, "", *lines)


def screen_for(console: Console, title: str) -> PlainScreen | LiveScreen:
    return LiveScreen(console, title) if console.is_terminal else PlainScreen(console)
