"""What is shown of a run while it goes on."""

import io

import pytest
from rich.console import Console

from domain import events as e
from services.demo.progress import PHRASES, Picture, counted, lines
from services.demo.screen import LiveScreen, PlainScreen, screen_for
from storage.views import Totals


def _picture(seconds: float = 1.0) -> Picture:
    totals = Totals(requested=100, generated=60, merged=30, delivered=10, jobs={"running": 2, "cleaned": 1})
    return Picture(seconds=seconds, requested=100, totals=totals, request="active", agent="pid 17")


def test_every_phrase_is_about_a_fact_that_exists() -> None:
    assert set(PHRASES) <= set(e.all_events())


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ([e.JobsAccounted(ids=[1])], ["1 job ended well, its output is booked"]),
        ([e.JobsAccounted(ids=[1, 2])], ["2 jobs ended well, their outputs are booked"]),
        ([e.FilesInvalidated(ids=[4], reason="cut short")], ["1 damaged file is set aside (cut short)"]),
        ([e.WorkflowsCompleted(ids=[1])], ["the workflow is complete"]),
        ([e.JobsEnded(ids=[1])], []),
        ([e.JobsCreated(ids=[1]), e.JobsFailed(ids=[9]), e.JobsCreated(ids=[2])], ["2 jobs made", "1 job failed"]),
        (
            [e.JobsFailed(ids=[1], reason="a"), e.JobsFailed(ids=[2], reason="b")],
            ["1 job failed (a)", "1 job failed (b)"],
        ),
    ],
)
def test_facts_become_sentences(facts: list[e.Event], text: list[str]) -> None:
    assert lines(facts) == text


def test_the_share_counts_all_three_stages() -> None:
    assert _picture().share == pytest.approx(1 / 3)


def test_counts_leave_out_what_is_zero() -> None:
    assert counted({"running": 2, "lost": 0, "success": 1000}) == "running 2  success 1,000"
    assert counted({}) == "none yet"


def test_without_a_terminal_there_are_plain_lines() -> None:
    sink = io.StringIO()
    console = Console(file=sink, width=300)
    screen = screen_for(console, "demo")
    assert isinstance(screen, PlainScreen)
    with screen:
        screen.show(_picture(0.0))
        screen.show(_picture(1.0))
        screen.say("1 file is [delivered]")
        screen.show(_picture(6.0))
    shown = sink.getvalue().splitlines()
    assert [line.split(" s ")[0].strip() for line in shown] == ["0.0", "1.0", "6.0"]
    assert "generated 60, merged 30, delivered 10 of 100; jobs: running 2  cleaned 1; pid 17" in shown[0]
    assert "1 file is [delivered]" in shown[1]


def test_a_terminal_shows_bars_and_the_latest_lines() -> None:
    sink = io.StringIO()
    console = Console(file=sink, width=120, force_terminal=True)
    screen = screen_for(console, "demo")
    assert isinstance(screen, LiveScreen)
    with screen:
        for number in range(20):
            screen.say(f"line {number}.")
        screen.show(_picture())
        screen.announce("agent [killed]")
    shown = sink.getvalue()
    assert "60 of 100 events" in shown
    assert "line 19." in shown
    assert "line 5." not in shown
    assert "agent [killed]" in shown
