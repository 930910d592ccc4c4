"""The program reads its configuration anew on SIGHUP and on command; killed in the middle of it, nothing is lost."""

import asyncio
import json
import random
import re
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.campaign import Campaign

KILLS = 3


def facts(campaign: Campaign) -> int:
    """Return how often the agent has taken a changed configuration."""
    with closing(sqlite3.connect(f"file:{campaign.directory}/state/agent.db?mode=ro", uri=True)) as store:
        (found,) = store.execute("SELECT count(*) FROM event WHERE type = 'SettingsChanged'").fetchone()
    return int(found)


@pytest.mark.timeout(240)
@pytest.mark.feature("OPS-03", "PA-205", "PA-216", "REL-07")
async def test_killed_while_it_reads_its_configuration_anew(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, jobs=24, sleep_s=0.3)
    whole = campaign.config.read_text()
    alone = re.sub(r"\[sites\.beta\.storage\].*?(?=\[sites\.gamma)", "", whole, flags=re.DOTALL)
    assert "beta" not in alone
    assert "alpha-local" in alone
    chance = random.Random(7)
    await campaign.start()
    try:
        await campaign.submit()
        await campaign.until_ran(1)
        for round_ in range(KILLS):
            known = facts(campaign)
            campaign.config.write_text(whole if round_ % 2 else alone)
            campaign.signal(signal.SIGHUP)
            while round_ % 2 == 0 and facts(campaign) == known:  # a target with jobs is out only once that is on record
                await asyncio.sleep(0.005)
            await asyncio.sleep(chance.uniform(0.0, 0.06))  # where in the middle it is hit is left to chance
            await campaign.kill()
            await campaign.start()
            await campaign.ready()
        campaign.config.write_text(alone.replace("processing = 20", "processing = 19").replace("port = 0", "port = 1"))
        code, text = await campaign.command("reload", "--json")
        assert code == 0, text
        changes = {one["key"]: (one["after"], one["restart"]) for one in json.loads(text)["changes"]}
        assert changes["sites.alpha.targets.alpha-local.limits.processing"] == ("19", False)
        assert changes["admin.port"] == ("1", True)
        await campaign.until_completed()
        runs = campaign.ran.read_text().splitlines()
        assert len(campaign.delivered()) == len(set(campaign.delivered())) == 240
        assert len({line.split()[1] for line in runs}) == len(runs), "no token ran twice"
        code, text = await campaign.command("msg", "history", "settings:1", "--json")
        assert code == 0
        told = [line for fact in json.loads(text)["facts"] for line in fact["more"]["changes"]]
        assert "sites.alpha.targets.alpha-local.limits.processing: 20 -> 19" in told
    finally:
        await campaign.stop()
        await campaign.end_daemons()
