"""Exactly once at the batch boundary, against random faults; ten thousand of them are `make soak`."""

from pathlib import Path

import pytest

from tests.acceptance import treacherous


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("seed", "array_max"), [(1, 10), (2, 1), (3, 10)])
@pytest.mark.feature("PA-301", "PA-308", "PA-312", "PA-313")
async def test_no_token_runs_twice_and_no_job_is_forgotten(tmp_path: Path, seed: int, array_max: int) -> None:
    cluster = await treacherous.campaign(tmp_path, faults=150, seed=seed, array_max=array_max)
    assert len(cluster.faults) >= 10, cluster.faults
