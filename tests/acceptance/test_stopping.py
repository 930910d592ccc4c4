"""How the real program starts and stops: signals, drain, and a tree whose wiring has a hole."""

import asyncio
import signal
import time
from pathlib import Path

import pytest

from tests.acceptance.campaign import CONFIG, Campaign

ACTOR = '\n[actors.extra]\ntype = "tests.acceptance.busy_actor:{}"\nunder = "data"\n'


def campaign_with(directory: Path, actor: str) -> Campaign:
    quiet = CONFIG.replace('log_level = "warning"', 'log_level = "info"')
    return Campaign(directory, jobs=1, configuration=quiet + ACTOR.format(actor))


async def logged(campaign: Campaign, text: str) -> None:
    """Wait until the agent has written this."""
    async with asyncio.timeout(30):
        while text not in campaign.log.read_text(errors="replace"):
            await asyncio.sleep(0.02)


@pytest.mark.feature("OPS-02", "OPS-12")
async def test_a_second_sigterm_skips_the_drain(tmp_path: Path) -> None:
    """The first one waits 5 s for an actor that is never done; the second ends that wait at once."""
    took: dict[int, float] = {}
    for signals in (1, 2):
        directory = tmp_path / str(signals)
        directory.mkdir()
        campaign = campaign_with(directory, "Busy")
        await campaign.start()
        try:
            await campaign.ready()
            agent = campaign._agent
            assert agent is not None
            begun = time.monotonic()
            agent.send_signal(signal.SIGTERM)
            if signals == 2:
                await logged(campaign, "stop: drain")
                agent.send_signal(signal.SIGTERM)
            assert await agent.wait() == 0
            took[signals] = time.monotonic() - begun
        finally:
            await campaign.stop()
            await campaign.end_daemons()
    assert took[1] > 5.0, took
    assert took[2] < 4.0, took


@pytest.mark.feature("PA-006", "PA-001")
async def test_a_hole_in_the_wiring_is_a_wrong_configuration(tmp_path: Path) -> None:
    campaign = campaign_with(tmp_path, "Unheard")
    code, text = await campaign.command("run")
    assert code == 78
    assert "NobodyTakesThis: written by extra, taken by no actor of the tree" in text
    assert not (tmp_path / "state/agent.json").exists()


@pytest.mark.feature("OPS-12", "OPS-05", "PA-012")
async def test_an_operator_drains_debugs_and_replaces(tmp_path: Path) -> None:
    campaign = campaign_with(tmp_path, "Busy")
    await campaign.start()
    try:
        await campaign.ready()
        code, text = await campaign.command("drain", "--reason", "downtime")
        assert (code, "draining since" in text, "(downtime): it is empty" in text) == (0, True, True), text
        code, text = await campaign.command("submit", str(campaign.workflow))
        assert code != 0
        assert "downtime" in text, "a draining agent takes on nothing"
        await campaign.kill()
        await campaign.start()
        await campaign.ready()
        assert "(downtime)" in (await campaign.command("drain", "--show"))[1], "the word holds over a restart"
        assert "does not drain" in (await campaign.command("drain", "--resume"))[1]
        assert (await campaign.command("submit", str(campaign.workflow)))[0] == 0
        await campaign.until_completed()

        code, text = await campaign.command("actors", "extra", "--debug")
        assert (code, "extra is logged in full for 3600 s" in text) == (0, True), text
        await logged(campaign, "prodagent.actor.extra: handled ")
        code, text = await campaign.command("actors", "extra", "--replace", "tests.acceptance.busy_actor:Nobody")
        assert code == 1
        assert "cannot be loaded" in text
        assert (await campaign.command("actors", "extra", "--replace", "actors.guard:Guard"))[0] == 0
        assert (await campaign.command("dlq", "list"))[0] == 0
    finally:
        await campaign.stop()
        await campaign.end_daemons()
