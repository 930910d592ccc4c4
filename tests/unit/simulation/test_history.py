"""The whole agent in a simulated world: one seed is one history, and whatever happens in it no event is lost or doubled."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from actors.submitter import Submitter
from run_agent import simulated
from services.simulation import campaign
from services.simulation.campaign import Trial, each_await, live_all
from services.simulation.history import Kill
from services.simulation.scenario import read
from tests.unit.simulation.conftest import Live
from tests.unit.simulation.worlds import TINY, with_target, world

ROOT = Path(__file__).parents[3]


@pytest.mark.feature("REL-02", "REL-14")
def test_a_request_becomes_delivered_files(live: Live) -> None:
    outcome = live(world())
    assert outcome.done
    assert outcome.totals.delivered == outcome.measures.merged == 60
    assert outcome.totals.jobs == {"cleaned": 8}
    assert outcome.measures.finished_at is not None


def digest_in_a_process(seed: int, hash_seed: str) -> str:
    words = [sys.executable, "run_agent.py", "simulate", "examples/scenarios/rough.toml", "--seed", str(seed), "--json"]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    answer = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert answer.returncode == 0, answer.stderr
    found: str = json.loads(answer.stdout)["digest"]
    return found


@pytest.mark.timeout(600)
@pytest.mark.feature("REL-02")
def test_one_seed_is_one_history_in_every_process() -> None:
    assert digest_in_a_process(3, "1") == digest_in_a_process(3, "2")


@pytest.mark.feature("REL-02")
def test_another_seed_is_another_history(live: Live) -> None:
    first, again, other = (live(world(TINY), seed).digest for seed in (1, 1, 2))
    assert first == again != other


def test_a_campaign_leaves_nothing_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "MEMORY", tmp_path)
    outcomes = live_all(read(world(TINY)), simulated, [Trial(1), Trial(2)], workers=2)
    assert [outcome.done for _, outcome in outcomes] == [True, True]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.feature("REL-01", "REL-02", "REL-11")
@pytest.mark.timeout(600)
def test_a_kill_at_any_await_loses_and_doubles_nothing(live: Live) -> None:
    """Every 29th await here; `make soak` takes each one."""
    scenario = read(world(TINY))
    steps = live(world(TINY)).first_steps
    assert steps > 300
    trials = each_await(steps, 1, every=29)
    for trial, outcome in live_all(scenario, simulated, trials, workers=2):
        assert outcome.wrong == [], f"replay with {trial}"
        assert outcome.kills == 1, f"replay with {trial}"
        assert outcome.done, f"replay with {trial}"
        assert outcome.measures.merged == TINY["requests"][0]["events"]


@pytest.mark.feature("REL-01", "REL-02", "REL-11", "REL-14", "PA-307")
@pytest.mark.timeout(900)
def test_many_seeds_with_kills_and_lost_answers() -> None:
    """Twenty-four here; `make soak` has a thousand of a rougher world."""
    rough = world(
        TINY,
        proof="end",
        network={"answer": "2 s", "broken": 0.05, "unanswered": 0.05},
        happens=[{"what": "agent-kills", "every": "20 min", "for": "90 min"}],
    )
    rough["sites"]["a"]["targets"]["ta"] |= {"success": 0.9, "duplicated": 0.1, "late": 0.1, "lost": 0.02, "held": 0.02}
    kills = failed = 0
    for trial, outcome in live_all(read(rough), simulated, [Trial(seed) for seed in range(24)], workers=2):
        assert outcome.wrong == [], f"replay with {trial}"
        assert outcome.done, f"replay with {trial}"
        assert outcome.measures.merged + outcome.measures.lost == 20
        kills += outcome.kills
        failed += outcome.measures.failed
    assert kills > 50
    assert failed > 3


@pytest.mark.feature("REL-02")
def test_laws_are_checked_after_each_commit(live: Live) -> None:
    assert live(world(TINY, proof="commit"), 4, Kill(0, 200)).kills == 1


@pytest.mark.feature("REL-02")
def test_an_agent_that_forgets_its_doubts_is_caught(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """The instrument itself: who never asks what became of a submission that failed leaves jobs in limbo."""

    async def forget(self: Submitter) -> None:
        self.in_doubt = False

    monkeypatch.setattr(Submitter, "_settle", forget)
    short = world(TINY, duration="12 h", network={"answer": "5 s", "broken": 0.3})
    found = [live(short, seed, wrong=True) for seed in range(1, 7)]
    assert any(not outcome.done or outcome.wrong for outcome in found)


@pytest.mark.feature("REL-14")
def test_a_tenth_of_the_jobs_fails_and_the_balance_is_exact(live: Live) -> None:
    made = with_target(slots=40, success=0.9, full_events=0.98)
    made["requests"][0] |= {"events": 1000, "policy": {"jobs_per_allocation": 25, "complete_below": 0.0}}
    outcome = live(made)
    assert outcome.done
    assert outcome.totals.allocated == outcome.totals.merged + outcome.totals.lost  # what is lost is asked for anew
    assert outcome.measures.merged == 1000
    assert outcome.measures.failed >= 5


@pytest.mark.feature("REL-04")
@pytest.mark.parametrize(
    "happening",
    [
        {"what": "agent-down", "at": "30 min", "for": "7 d"},
        {"what": "prodmgr-away", "at": "30 min", "for": "7 d"},
        {"what": "target-away", "target": "ta", "at": "30 min", "for": "7 d"},
        {"what": "storage-away", "site": "c", "at": "30 min", "for": "7 d"},
    ],
    ids=lambda happening: happening["what"],
)
def test_a_week_without_one_of_them_is_caught_up(live: Live, happening: dict[str, str]) -> None:
    made = world(happens=[happening], duration="20 d", pace="12 h", poll="2 h")
    outcome = live(made)
    assert outcome.done
    assert outcome.measures.merged == outcome.totals.delivered == 60
    assert outcome.measures.lost == 0


@pytest.mark.feature("REL-04")
def test_a_week_without_a_whole_site_costs_the_others_nothing(live: Live) -> None:
    """The other site stays full, queues stay within their limits, and two hours after its return the site is full again."""
    hour, begins, ends = 3600.0, 12 * 3600.0, 180 * 3600.0
    made = world(
        duration="20 d",
        pace="12 h",
        poll="1 h",
        happens=[{"what": "site-down", "site": "a", "at": "12 h", "for": "7 d"}],
    )
    made["sites"] = {
        "a": {"targets": {"ta": {"slots": 2, "run": "24 h"}}},
        "b": {"targets": {"tb": {"slots": 2, "run": "24 h"}}},
        "c": {},
    }
    made["requests"][0] |= {"events": 260, "policy": {"jobs_per_allocation": 4, "complete_below": 0.0}}
    outcome = live(made)
    assert outcome.verdict.delivered == 260
    course = outcome.measures.course
    rest = [moment.running["tb"] for moment in course if begins <= moment.at <= ends]
    assert sum(rest) >= 0.95 * 2 * len(rest) > 0
    assert all(moment.running["ta"] == 0 for moment in course if begins <= moment.at < ends)
    back = [moment for moment in course if ends + hour <= moment.at <= ends + 2 * hour]
    assert back
    assert back[-1].running["ta"] == 2
    assert max(moment.queued for moment in course) <= 4  # half as many again as slots, and one merge, per target
    assert outcome.measures.failed == 2  # what ran there when it went down


@pytest.mark.feature("PA-211", "REL-04")
@pytest.mark.parametrize(
    ("mode", "kills"),
    [("drain", []), ("down", [{"what": "agent-kills", "every": "4 h", "for": "1 d"}])],
    ids=["drain", "down, with kills"],
)
def test_a_site_that_is_drained_gives_its_work_to_the_other(live: Live, mode: str, kills: list[dict[str, str]]) -> None:
    """No attempt fails for it, the other site stays full, and the site is used again when it is enabled."""
    hour = 3600.0
    mode_for = {"what": "site-mode", "site": "a", "mode": mode, "at": "5 h", "for": "1 d"}
    made = world(pace="4 h", poll="1 h", duration="10 d", happens=[mode_for, *kills])
    made["sites"] = {
        name: {"targets": {f"t{name}": {"slots": 2, "run": "6 h", "spread": 0.0, "ahead": 3.0}}} for name in "ab"
    } | {"c": {}}
    made["requests"][0] |= {"events": 300, "policy": {"jobs_per_allocation": 20, "complete_below": 0.0}}
    outcome = live(made)
    assert outcome.verdict.delivered == 300
    assert outcome.measures.failed == 0, "nothing was burnt"
    course = outcome.measures.course
    empty = (
        14 if mode == "down" else 26
    )  # hours: what runs there ends; what waits there runs too, unless it is taken back
    drained = [moment for moment in course if empty * hour <= moment.at < 29 * hour]
    assert drained
    assert all(moment.running == {"ta": 0, "tb": 2} for moment in drained)
    assert any(moment.running["ta"] > 0 for moment in course if 30 * hour < moment.at < 36 * hour)


@pytest.mark.feature("PA-214", "PA-403", "PA-404", "REL-04", "REL-08")
@pytest.mark.parametrize("at", ["0 s", "30 min"], ids=["jobs", "jobs and a merge"])
def test_a_storage_full_for_hours_costs_nothing_but_time(live: Live, at: str) -> None:
    """The breaker opens at the tenth failure, then two probes at a time go; six jobs would fail 36 times and more without it."""
    outcome = live(world(happens=[{"what": "storage-full", "site": "a", "at": at, "for": "6 h"}]))
    assert outcome.verdict.ended
    assert outcome.verdict.delivered == 60
    assert set(outcome.measures.causes) == {"no room at the storage element"}
    assert 8 <= outcome.measures.failed <= 10 + 2 * 6
    assert outcome.measures.finished_at is not None
    assert 6 * 3600 < outcome.measures.finished_at < 12 * 3600


@pytest.mark.feature("REL-08")
@pytest.mark.parametrize("by", ["1 d", "-1 d"])
@pytest.mark.parametrize("lasts", [{}, {"for": "40 min"}], ids=["for good", "for a while"])
def test_a_wall_clock_set_wrong_times_nothing_out(live: Live, by: str, lasts: dict[str, str]) -> None:
    outcome = live(world(happens=[{"what": "clock-jump", "by": by, "at": "25 min", **lasts}]))
    assert outcome.done
    assert outcome.lives == 1
    assert outcome.measures.failed == 0
    assert outcome.seconds < 3 * 3600


@pytest.mark.feature("REL-08", "PA-010")
def test_a_wall_clock_set_back_prolongs_no_wait(live: Live) -> None:
    """A transfer waits for the next try when the moment that it waits for is suddenly a day away."""
    away = {"what": "storage-away", "site": "c", "at": "30 min", "for": "6 h"}
    outcome = live(world(happens=[away, {"what": "clock-jump", "by": "-1 d", "at": "6 h"}]))
    assert outcome.done
    assert outcome.seconds < 12 * 3600


def test_what_happens_is_in_the_figures(live: Live) -> None:
    made = world(happens=[{"what": "agent-kills", "every": "10 min", "for": "2 h"}])
    made["sites"]["a"]["targets"]["ta"]["success"] = 0.7
    outcome = live(made, 5)
    assert outcome.kills == outcome.lives - 1 > 0
    assert outcome.measures.failed == sum(outcome.measures.causes.values())
    (target,) = outcome.measures.targets
    assert 0 < target.utilisation < 1
    course: list[Any] = outcome.measures.course
    assert [moment.at for moment in course] == sorted(moment.at for moment in course)
    assert course[-1].events == 60
