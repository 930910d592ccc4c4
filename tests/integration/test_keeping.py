"""What keeps the agent's state small and sound: compaction behind the backs of all, and brakes as the disk fills."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from actors.brakes import Work
from actors.guard import Guard, used_percent
from actors.messages import CompactLog, Refused, Wake
from domain import events as e
from storage import alerts, baseline, compaction, laws, log, schema
from storage.errors import StoreAway
from tests.integration.agent import Agent, running, workflow


async def laws_hold(agent: Agent) -> None:
    assert await agent.world.store.read(lambda c: laws.check(c, now=agent.world.clock.time())) == []


async def facts(agent: Agent) -> int:
    count = sa.select(sa.func.count()).select_from(schema.event)
    return await agent.world.store.read(lambda c: c.execute(count).scalar_one())


@pytest.mark.feature("PA-014", "PA-018", "REL-10")
async def test_the_log_is_compacted_while_the_agent_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On command; everything goes but what a subscriber has not read, and the laws hold."""
    monkeypatch.setattr("actors.stage.SKIP", 1)
    async with running(tmp_path, events="keep_s = 0.001") as agent:
        await agent.world.store.write(lambda tx: log.begin(tx, "away"))
        await agent.submit(workflow())
        await agent.fact(e.WorkflowsCompleted).reached()
        keeper = agent.system.ref("keeper")
        dry = await keeper.ask(CompactLog(dry_run=True))
        assert (dry.facts, dry.held_by) == (0, "subscriber away, which has read up to 0")
        everything = await agent.world.store.read(lambda c: log.after(c, 0, [e.JobsSucceeded], 100))
        assert everything
        half = everything[0].id
        await agent.world.store.write(lambda tx: log.advance(tx, "away", half))
        await read_by_all(agent, half, besides="away")
        done = await keeper.ask(CompactLog())
        assert 0 < done.facts <= half
        assert done.bytes > 0
        assert await agent.world.store.read(lambda c: log.after(c, half, [e.JobsSucceeded], 100)) == everything[1:]
        await laws_hold(agent)
        await agent.submit(workflow("another"))
        await agent.fact(e.WorkflowsCompleted).reached(2)
        await laws_hold(agent)


@pytest.mark.feature("PA-018")
async def test_a_broken_log_is_kept_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.stage.SKIP", 1)
    async with running(tmp_path, events="keep_s = 0.001") as agent:
        await agent.submit(workflow())
        await agent.fact(e.WorkflowsCompleted).reached()
        await agent.world.store.write(
            lambda tx: tx.connection.execute(schema.event.update().where(schema.event.c.id == 1).values(body="{}"))
        )
        await read_by_all(agent, 2)
        with pytest.raises(Refused, match=r"fact 1 .* cannot be read"):
            await agent.system.ref("keeper").ask(CompactLog())
        assert (await agent.world.store.read(baseline.reached)).event_id == 0


async def read_by_all(agent: Agent, fact: int, besides: str = "") -> None:
    """Return when every stage has moved its cursor to a fact or further."""
    query = sa.select(schema.cursor.c.subscriber).where(schema.cursor.c.position < fact)
    while await agent.world.store.read(lambda c: c.execute(query.where(schema.cursor.c.subscriber != besides)).first()):
        for actor in ("monitor", "error", "catalogue"):
            await agent.system.ref(actor).ask(Wake())


class Disk:
    """A disk whose use a test sets."""

    def __init__(self, percent: float = 10.0) -> None:
        self.percent = percent

    def __call__(self, _path: Path) -> float:
        return self.percent


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    monkeypatch.setattr(Guard, "used", made)
    return made


async def look(agent: Agent) -> None:
    await agent.system.ref("guard").ask(Wake())


async def disk_alert(agent: Agent) -> tuple[str, str] | None:
    found = [alert for alert in await agent.world.store.read(alerts.open_alerts) if alert.code == "disk"]
    return (found[0].level, found[0].text) if found else None


@pytest.mark.feature("OPS-10", "REL-08")
async def test_a_filling_disk_stops_work_in_steps(tmp_path: Path, disk: Disk) -> None:
    async with running(tmp_path) as agent:
        brakes = agent.world.brakes

        async def at(percent: float) -> tuple[bool, bool]:
            disk.percent = percent
            await look(agent)
            return bool(brakes.held(Work.INTAKE)), bool(brakes.held(Work.SUBMISSION))

        assert await at(84.9) == (False, False)
        assert await disk_alert(agent) is None
        assert await at(85.0) == (True, False)
        level, text = await disk_alert(agent) or ("", "")
        assert level == "warning"
        assert text.endswith("is 85 % full: no new work is taken on")
        with pytest.raises(Refused, match=r"no new work is taken on now: the disk of .* is 85 % full"):
            await agent.submit(workflow())
        assert await at(80.0) == (True, False), "the hysteresis holds the brake"
        assert await at(79.9) == (False, False)
        assert await disk_alert(agent) is None
        await agent.submit(workflow(command="test {first_event} -ne 0 && seq {first_event} {last_event} > '{output}'"))
        assert await at(95.0) == (True, True)
        assert (await disk_alert(agent) or ("",))[0] == "error"
        assert await at(90.0) == (True, True)
        assert await at(89.0) == (True, False)
        assert await at(98.5) == (True, True)
        with pytest.raises(StoreAway, match="nor is anything written"):
            await agent.world.store.write(lambda tx: None)
        assert (await disk_alert(agent) or ("",))[0] == "critical", "it was booked before the writing stopped"
        assert await at(93.0) == (True, True)
        with pytest.raises(StoreAway):
            await agent.world.store.write(lambda tx: None)
        assert await at(92.0) == (True, True)
        await agent.world.store.write(lambda tx: None)
        assert await at(10.0) == (False, False)
        await agent.fact(e.WorkflowsCompleted).reached()
        await laws_hold(agent)


@pytest.mark.feature("OPS-10")
async def test_a_class_of_files_beyond_its_quota_stops_new_work(tmp_path: Path, disk: Disk) -> None:
    async with running(tmp_path, more="\n[disk.quotas_gb]\nscratch = 0.001\nsandboxes = 1\n") as agent:
        scratch = Path(agent.world.settings.agent.state) / "scratch"
        scratch.mkdir(exist_ok=True)

        async def with_bytes(size: int) -> str:
            (scratch / "big").write_bytes(bytes(size))
            await look(agent)
            return agent.world.brakes.held(Work.INTAKE)

        async def alert() -> list[tuple[str, str]]:
            return [
                (each.subject, each.text)
                for each in await agent.world.store.read(alerts.open_alerts)
                if each.code == "disk-quota"
            ]

        assert await with_bytes(950_000) == ""
        text = await with_bytes(1_100_000)
        assert text.startswith("scratch in ")
        assert text.endswith("GB, their quota is 0.001: no new work is taken on")
        assert await alert() == [("scratch", text)]
        assert await with_bytes(970_000) != "", "the hysteresis holds the brake"
        assert await with_bytes(900_000) == ""
        assert await alert() == []


@pytest.mark.feature("REL-09")
async def test_damage_that_is_found_while_at_work_stops_new_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start looks for a moment only; the whole store is read through while the agent works."""
    damage = [laws.Breach("whole", "database", "row 3 missing from index ix_job_place")]
    monkeypatch.setattr("actors.keeper.laws.damaged", lambda connection: damage)
    async with running(tmp_path) as agent:
        await agent.system.ref("keeper").ask(Wake())
        assert "the store is damaged: row 3 missing" in agent.world.brakes.held(Work.SUBMISSION)
        with pytest.raises(Refused, match="stop the agent and restore a snapshot"):
            await agent.submit(workflow())
        levels = {alert.code: alert.level for alert in await agent.world.store.read(alerts.open_alerts)}
        assert levels["store-damaged"] == "critical"


def test_how_full_is_counted_as_df_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks kept for root count as neither used nor free."""
    usage = SimpleNamespace(total=100, used=45, free=45)
    monkeypatch.setattr("actors.guard.shutil.disk_usage", lambda path: usage)
    assert used_percent(tmp_path) == 50.0
    assert compaction.FACTS > 0
