"""Archives in a simulated world: written, kept, removed over weeks, while the agent is killed at its awaits (PA-414)."""

import sqlite3
from typing import Any

import pytest

from run_agent import simulated
from services.simulation.campaign import each_await
from services.simulation.database import Disk
from services.simulation.history import History
from services.simulation.scenario import read
from tests.unit.simulation.conftest import Live
from tests.unit.simulation.worlds import SMALL, TINY, world

pytestmark = pytest.mark.feature("PA-414", "REL-02")


def on_record(disk: Disk) -> dict[str, str]:
    """Return the kinds of the agent's own volumes by name."""
    with sqlite3.connect(disk.directory / "agent.db") as books:
        return dict(books.execute("SELECT name, kind FROM volume WHERE site = ''").fetchall())


def on_disk(disk: Disk) -> set[str]:
    return {path.name.removesuffix(".jsonl.gz") for path in (disk.directory / "archives").glob("??/*")}


def aging(base: dict[str, Any], **archives: Any) -> dict[str, Any]:
    return world(base, agent={"archives": archives})


def test_every_attempt_is_kept_and_what_is_on_record_is_on_disk(live: Live, disk: Disk) -> None:
    failing = world()
    failing["sites"]["a"]["targets"]["ta"] |= {"success": 0.6, "lost": 0.05}
    outcome = live(failing, 3)
    assert outcome.done
    assert on_disk(disk) == set(on_record(disk))
    assert set(on_record(disk).values()) == {"success", "failure"}
    with sqlite3.connect(disk.directory / "agent.db") as books:
        unkept = "SELECT count(*) FROM attempt WHERE id NOT IN (SELECT attempt_id FROM archive) AND outcome"
        assert books.execute(f"{unkept} IN ('success', 'failed')").fetchone() == (0,)


def test_a_cap_holds_over_a_campaign(live: Live, disk: Disk) -> None:
    """No more than the cap at the end, and the newest are those that are left."""
    most = 2_000
    outcome = live(aging(SMALL, total_gb=most / 1e9))
    assert outcome.done
    assert on_disk(disk) == set(on_record(disk))
    held = sum(path.stat().st_size for path in (disk.directory / "archives").glob("??/*"))
    assert 0 < held <= most
    with sqlite3.connect(disk.directory / "agent.db") as books:
        assert books.execute("SELECT min(id) > 1 FROM volume").fetchone() == (1,)


@pytest.mark.timeout(600)
def test_a_kill_at_any_await_leaves_what_the_next_look_mends(live: Live, disk: Disk) -> None:
    """Volumes are removed half an hour after they were made: every 83rd await here, between a file and its row among them."""
    aged = aging(TINY, success_s=1800.0, failure_s=1800.0)
    scenario, steps = read(aged), live(aged).first_steps
    for trial in each_await(steps, 1, every=83):
        outcome = History(scenario, trial.seed, simulated, disk, kills=trial.kills).run()
        assert outcome.wrong == [], f"replay with {trial}"
        assert outcome.done, f"replay with {trial}"
        assert on_disk(disk) == set(on_record(disk)), f"replay with {trial}"
