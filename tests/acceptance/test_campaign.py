"""No event is lost or doubled, whatever is killed."""

import os
from pathlib import Path

import pytest

from tests.acceptance import campaign
from tests.real.mariadb import PASSWORD, MariaServer


@pytest.mark.timeout(600)
@pytest.mark.feature("PA-022", "PA-302", "PA-308", "REL-10", "REL-14", "DBS-05", "PA-511", "TX-07", "PA-513")
async def test_two_hundred_jobs_survive_twenty_kills(tmp_path: Path) -> None:
    outcome = await campaign.run(tmp_path, jobs=200, kills=20, seed=20041)
    assert sorted(outcome.delivered) == sorted(f"event {number}" for number in range(1, 2001))
    assert len(outcome.runs) == len(set(outcome.runs)), "a token was run twice"
    assert outcome.verified, outcome.verification


@pytest.mark.timeout(600)
@pytest.mark.feature("PA-022", "REL-01", "REL-09", "REL-10", "DBS-05")
async def test_jobs_survive_kills_of_the_agent_and_of_its_database(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORE_PASSWORD", PASSWORD)
    server = MariaServer(tmp_path_factory.mktemp("server")).install()
    server.start()
    try:
        outcome = await campaign.run(tmp_path, jobs=100, kills=12, seed=20042, server=server)
    finally:
        server.stop()
    assert sorted(outcome.delivered) == sorted(f"event {number}" for number in range(1, 1001))
    assert len(outcome.runs) == len(set(outcome.runs)), "a token was run twice"
    assert outcome.verified, outcome.verification


@pytest.mark.timeout(600)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount the disk that is filled and made read-only")
@pytest.mark.feature("REL-01", "REL-07", "REL-08", "REL-09", "REL-10")
async def test_jobs_survive_whatever_runs_out_and_a_clock_that_is_wrong(tmp_path: Path) -> None:
    outcome = await campaign.run(tmp_path, jobs=60, kills=12, seed=20043, all_harm=True)
    assert sorted(outcome.delivered) == sorted(f"event {number}" for number in range(1, 601))
    assert len(outcome.runs) == len(set(outcome.runs)), "a token was run twice"
    assert outcome.verified, outcome.verification
    assert len(outcome.harm) == 9, outcome.harm
