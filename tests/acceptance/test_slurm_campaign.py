"""No attempt is doubled or forgotten on a real Slurm behind a real sshd, whatever is killed."""

import shutil
from pathlib import Path

import pytest

from tests.acceptance import slurm_campaign


@pytest.mark.timeout(600)
@pytest.mark.feature("PA-303", "PA-305", "PA-308", "PA-312", "PA-313", "REL-10")
async def test_a_campaign_on_slurm_survives_twenty_faults(tmp_path: Path) -> None:
    assert shutil.which("slurmctld", path="/usr/sbin:/usr/bin"), "sh .ci/system installs slurm-wlm"
    outcome = await slurm_campaign.run(tmp_path, jobs=40, faults=20, seed=20051, accounting=True, lives_s=(0.3, 2.0))
    assert sorted(outcome.delivered) == sorted(f"event {number}" for number in range(1, 401))
    assert outcome.doubled == [], "a payload ran twice"
    assert outcome.submitted_twice == {}
    assert outcome.verified, outcome.verification
    assert len(outcome.faults) >= 4, outcome.faults


@pytest.mark.timeout(300)
@pytest.mark.feature("PA-303", "PA-305")
async def test_arrays_over_one_connection(tmp_path: Path) -> None:
    outcome = await slurm_campaign.run(tmp_path, jobs=24, faults=0, seed=1, array_max=50)
    assert sorted(outcome.delivered) == sorted(f"event {number}" for number in range(1, 241))
    assert outcome.doubled == []
    assert outcome.connections == 1
    assert any("prodagent-" in name for name in outcome.batch_jobs), "no array was used"
    assert outcome.verified, outcome.verification
