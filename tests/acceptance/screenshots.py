"""Make the pictures of the documentation: a real agent at work, seen by a real browser."""

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from tests.acceptance.campaign import Campaign
from tests.acceptance.test_run_agent import BROWSER, QUIET, output_of

PAGES = {"overview": "/", "workflow": "/workflows/campaign", "job": "/jobs/1", "sites": "/sites"}
SAID = (
    ("limit", "alpha-local", "processing", "12", "--reason", "a downtime"),
    ("limit", "alpha-local", "cores", "64", "--reason", "a downtime"),
    ("site", "drain-merge", "beta", "--for", "2 h", "--reason", "its storage is nearly full"),
)
"""What operators say meanwhile."""


async def take(target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="screenshots-") as directory:
        campaign = Campaign(Path(directory), jobs=400, sleep_s=0.05)
        await campaign.start()
        try:
            await campaign.submit()
            await campaign.until_ran(150)
            for words in SAID:
                await campaign.command(*words)
            url = json.loads((Path(directory) / "state/agent.json").read_text())["url"]
            for name, path in PAGES.items():
                picture = target / f"{name}.png"
                words = [
                    *QUIET,
                    f"--user-data-dir={directory}/browser",
                    "--window-size=1280,1500",
                    "--virtual-time-budget=3000",
                ]
                await output_of(BROWSER, *words, f"--screenshot={picture}", url + path)
                print(picture)
        finally:
            await campaign.stop()
            await campaign.end_daemons()


if __name__ == "__main__":
    asyncio.run(take(Path(sys.argv[1])))
