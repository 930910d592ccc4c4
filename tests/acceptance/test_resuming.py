"""An agent that is killed in the middle of a copy brings the file whole in its next life."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.campaign import CONFIG, Campaign
from tests.integration.test_remote_storage import HOST
from tests.real.sshd import USER, Sshd

HERE = '[sites.gamma.storage]\nkind = "posix"\nroot = "gamma/storage"\n'
THERE = '[sites.gamma.storage]\nkind = "sftp"\nhost = "alps"\nroot = "{root}"\nchild_from_bytes = 0\n'
WORKFLOW = """
name = "campaign"
events = 10
events_per_job = 10
deliver_to = ["gamma"]

[[steps]]
command = ["sh", "-c", "for n in $(seq {first_event} {last_event}); do head -c 4000000 /dev/zero | tr '\\\\0' x; echo; done > '{output}'"]

[merge]
max_events = 10
min_fraction = 1.0
"""


@pytest.mark.timeout(300)
@pytest.mark.feature("PA-317", "TX-06", "TX-07")
async def test_a_copy_that_was_cut_by_a_kill_is_made_anew_and_costs_no_try(tmp_path: Path) -> None:
    with Sshd(tmp_path / "sshd") as sshd:
        place = tmp_path / "gamma/storage"
        gamma = THERE.format(root=place)
        host = HOST.format(port=sshd.port, user=USER, identity=sshd.identity, known_hosts=sshd.known_hosts)
        campaign = Campaign(tmp_path, jobs=1, configuration=CONFIG.replace(HERE, gamma) + host)
        campaign.workflow.write_text(WORKFLOW)
        await campaign.start()
        try:
            await campaign.submit()
            await under_way(place)
            sshd.freeze()
            await campaign.kill()
            assert not [path for path in files(place) if not path.name.endswith(".part")]
            sshd.thaw()
            await campaign.start()
            await campaign.finish(120)
            (arrived,) = files(place)
            assert arrived.stat().st_size > 40_000_000
            code, told = await campaign.command("verify", "--deep")
            assert code == 0, told
            with closing(sqlite3.connect(f"file:{tmp_path}/state/agent.db?mode=ro", uri=True)) as books:
                assert books.execute("SELECT state, attempt, fence FROM transfer").fetchall() == [("safe", 1, 2)]
        finally:
            await campaign.stop()
            await campaign.end_daemons()


def files(place: Path) -> list[Path]:
    return [path for path in place.rglob("*") if path.is_file()]


async def under_way(place: Path) -> None:
    """Return when some of the bytes lie there, and not all."""
    async with asyncio.timeout(120):
        while not any(path.name.endswith(".part") and path.stat().st_size for path in files(place)):
            await asyncio.sleep(0.002)
