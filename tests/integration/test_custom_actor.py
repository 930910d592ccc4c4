"""The worked example of an actor type: a notifier that posts to a chat webhook."""

from pathlib import Path

import pytest
from aiohttp import web

from actors import monitor
from actors.extra import WrongActor
from actors.messages import Wake
from actors.opening import open_world
from backends.opening import settings_of
from config.loader import ConfigError, load
from domain import events as e
from run_agent import tree
from storage import alerts, attempts
from supervisors.testing import Signal
from tests.integration import archivist
from tests.integration.agent import CONFIG, Agent, running, workflow

NOTIFIER = """
[actors.notifier]
type = "examples.custom_actor.notifier:Notifier"
under = "watch"

[actors.notifier.settings]
url = "{url}"
"""


@pytest.mark.feature("PA-001", "PA-007", "PA-008")
async def test_it_posts_about_jobs_that_were_given_up(tmp_path: Path) -> None:
    posts: list[dict[str, object]] = []
    got, refuse = Signal(), [True]

    async def hook(request: web.Request) -> web.Response:
        if refuse and refuse.pop():
            return web.Response(status=503)  # the first post fails: the fact is parked and comes again
        posts.append(await request.json())
        got.fire()
        return web.Response()

    server = web.Application()
    server.router.add_post("/hook", hook)
    runner = web.AppRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        async with running(tmp_path, more=NOTIFIER.format(url=url)) as agent:
            await agent.submit(workflow(events=10, command="exit 1"))
            await agent.fact(e.JobsExhausted).reached()
            await got.reached()
            assert posts[0]["jobs"] == [1]
            assert "payload failed" in str(posts[0]["text"])
    finally:
        await runner.cleanup()


ARCHIVIST = """
[actors.archivist]
type = "tests.integration.archivist:Archivist"
under = "outcome"
"""


async def kept_too_long(agent: Agent) -> list[str]:
    """Return what the monitor tells, after a look, of who keeps job directories."""
    await agent.system.ref("monitor").ask(Wake())
    found = await agent.world.store.read(alerts.open_alerts)
    return [alert.text for alert in found if alert.code == "barrier-open"]


@pytest.mark.feature("PA-016", "PA-517")
async def test_job_directories_stay_for_who_wants_to_look_into_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archivist.ready.clear()
    async with running(tmp_path, more=ARCHIVIST) as agent:
        await agent.submit(workflow(events=20))
        await agent.fact(e.WorkflowsCompleted).reached()
        await agent.fact(e.FilesRemoved).reached()
        left = await agent.world.store.read(lambda c: attempts.left_behind(c, "alpha-local", 10))
        assert len(left.ended) >= 2  # only the archivist keeps them
        assert agent.fact(e.JobsCleaned).count == 0
        assert await kept_too_long(agent) == [], "nobody is late on the first day"
        monkeypatch.setattr(monitor, "OPEN_S", 0.0)
        (text,) = await kept_too_long(agent)
        assert text.endswith("job directories are kept for archivist, which has not asked for their end")
        archivist.ready.set()
        await agent.fact(e.JobsCleaned).reached()


@pytest.mark.feature("PA-001", "OPS-03")
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ('type = "no.such:Thing"\nunder = "watch"', "cannot be loaded"),
        ('type = "domain.job:JobState"\nunder = "watch"', "is no actor; expected a subclass of actors.stage.Stage"),
        ('type = "examples.custom_actor.notifier:Notifier"\nunder = "cellar"', "got 'cellar', expected one of watch"),
        (
            'type = "examples.custom_actor.notifier:Notifier"\nunder = "watch"\n[actors.x.settings]\nurl = "http://a"\ntimeuot_s = 1',
            "timeout_s",
        ),
    ],
)
async def test_a_wrong_one_is_refused_before_anything_starts(tmp_path: Path, wrong: str, reason: str) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(
        CONFIG.format(admin="false", events="", cleanup="", store="sqlite:///state/agent.db")
        + f"\n[actors.x]\n{wrong}\n"
    )
    async with open_world(load(path, settings_of)) as world:
        with pytest.raises(WrongActor, match=reason):
            tree(world)


@pytest.mark.feature("OPS-03")
async def test_a_state_directory_that_cannot_be_made_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    text = CONFIG.format(admin="false", events="", cleanup="", store="sqlite:///elsewhere/agent.db")
    path.write_text(text.replace("[agent]\n", '[agent]\nstate = "taken"\n'))
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(
        ConfigError, match=r"agent.state: got .*taken .*expected a directory that can be made and written"
    ):
        async with open_world(load(path, settings_of)):
            raise AssertionError("opened")
