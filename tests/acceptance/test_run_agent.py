"""The program as its operators have it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.acceptance.campaign import ROOT, Campaign

BROWSER = "chromium"
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


@asynccontextmanager
async def started(directory: Path, *, jobs: int = 20) -> AsyncIterator[Campaign]:
    """Yield a campaign whose agent is ready; it is stopped afterwards."""
    campaign = Campaign(directory, jobs=jobs)
    await campaign.start()
    try:
        await campaign.ready()
        yield campaign
    finally:
        await campaign.stop()
        await campaign.end_daemons()


async def output_of(*words: str | Path, timeout: float = 90.0) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *map(str, words), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=ROOT
    )
    async with asyncio.timeout(timeout):
        out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


@pytest.mark.feature("OPS-02", "REL-07", "PA-001")
async def test_a_second_agent_on_one_store_is_refused(tmp_path: Path) -> None:
    async with started(tmp_path) as campaign:
        code, text = await campaign.command("run")
        assert code == 4
        assert "in use by process" in text


@pytest.mark.feature("OPS-03", "PA-001")
async def test_a_wrong_configuration_is_refused_with_every_fault(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, jobs=1)
    campaign.config.write_text(
        campaign.config.read_text().replace("slots = 2", "slotz = 2").replace("port = 0", "port = -1")
    )
    code, text = await campaign.command("run")
    assert code == 78
    assert "sites.alpha.targets.alpha-local.slotz" in text
    assert "slots" in text
    assert "admin.port: got -1" in text
    assert not (tmp_path / "state").exists()


@pytest.mark.feature("OPS-02")
async def test_it_ends_in_order_on_sigterm(tmp_path: Path) -> None:
    async with started(tmp_path) as campaign:
        assert await campaign.stop() == 0
        assert not (tmp_path / "state/agent.json").exists()


@pytest.mark.feature("OPS-02", "OPS-06")
async def test_commands_without_an_agent_say_so(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, jobs=1)
    code, text = await campaign.command("submit", str(campaign.workflow))
    assert code == 3
    assert "agent.json" in text
    code, text = await campaign.command("status")
    assert code == 4
    assert "no store at" in text


@pytest.mark.timeout(180)
@pytest.mark.feature("PA-302")
async def test_jobs_go_on_while_the_agent_is_away(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, jobs=30, sleep_s=0.3)
    await campaign.start()
    try:
        await campaign.submit()
        await campaign.until_ran(1)
        await campaign.kill()
        before = len(campaign.ran.read_text().splitlines())
        assert before < 30
        await campaign.until_ran(before + 1)  # nobody but the node daemon is there
        await campaign.start()
        await campaign.until_completed()
        runs = campaign.ran.read_text().splitlines()
        assert len(runs) == len(set(runs)) == 30
        assert (await campaign.command("verify", "--deep"))[0] == 0
    finally:
        await campaign.stop()
        await campaign.end_daemons()


@pytest.mark.timeout(180)
@pytest.mark.feature("OPS-07", "OPS-06", "OPS-15")
async def test_the_page_in_a_browser(tmp_path: Path) -> None:
    async with started(tmp_path, jobs=4) as campaign:
        await campaign.submit()
        await campaign.until_completed()
        url = json.loads((tmp_path / "state/agent.json").read_text())["url"]
        code, page = await output_of(
            BROWSER, *QUIET, f"--user-data-dir={tmp_path / 'browser'}", "--virtual-time-budget=4000", "--dump-dom", url
        )
        assert code == 0
        for word in ("tracker.alpha-local", "campaign", "completed", "Supervision tree"):
            assert word in page, word
        code, metrics = await output_of(
            sys.executable, "-c", f"import urllib.request as u; print(u.urlopen('{url}/metrics').read())"
        )
        assert "prodagent_" in metrics


@pytest.mark.timeout(400)
@pytest.mark.feature("OPS-01", "PM-01", "PM-02", "PM-03", "PM-07", "PM-09", "REL-14")
@pytest.mark.parametrize("chaos", [[], ["--chaos", "--seed", "11"]], ids=["calm", "chaos"])
async def test_the_demonstration_with_a_prodmgr(tmp_path: Path, chaos: list[str]) -> None:
    words = ["demo", "--example", "plain", "--events", "2000", "--directory", str(tmp_path / "demo"), *chaos]
    code, text = await output_of(sys.executable, ROOT / "run_agent.py", *words, timeout=300)
    assert code == 0, text
    assert "2,000 of 2,000 events are there exactly once" in text
    assert "the request is complete" in text


@pytest.mark.timeout(400)
@pytest.mark.feature("OPS-01", "PA-120", "PA-121")
async def test_real_physics_with_pythia(tmp_path: Path) -> None:
    words = ["demo", "--events", "2000", "--directory", str(tmp_path / "demo")]
    code, text = await output_of(sys.executable, ROOT / "run_agent.py", *words, timeout=300)
    assert code == 0, text
    assert "2,000 distinct event numbers" in text
    assert (tmp_path / "demo/zmumu.png").stat().st_size > 10_000
