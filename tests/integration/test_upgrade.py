"""An agent stops, its program and store are replaced by newer ones, and it goes on with the jobs that ran meanwhile."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from domain import events as e
from storage import attempts, laws
from storage.engines.sqlite import connect
from tests.integration.agent import running, workflow
from tests.stores.recording import dump, load, migrate_to


def age(database: Path) -> None:
    """Make of a store what the first version of this program would have left in its place."""
    newer = connect(database, writer=True)
    with newer.connect() as connection:
        rows = dump(connection)
    newer.dispose()
    for path in database.parent.glob(f"{database.name}*"):
        path.unlink()
    older = connect(database, writer=True)
    with older.connect() as connection:
        migrate_to(connection, "0001")
        load(connection, {name: found for name, found in rows.items() if name != "version_agent"})
        connection.commit()
        assert "commits" not in {column["name"] for column in sa.inspect(connection).get_columns("lease")}
    older.dispose()


@pytest.mark.feature("REL-05", "PA-023")
async def test_running_jobs_are_adopted_after_an_upgrade(tmp_path: Path) -> None:
    gate, ran = tmp_path / "gate", tmp_path / "ran"
    command = f"while [ ! -e {gate} ]; do sleep 0.05; done; seq {{first_event}} {{last_event}} > '{{output}}'; echo {{token}} >> {ran}"
    async with running(tmp_path) as agent:
        await agent.submit(workflow(events=40, command=command))
        await agent.fact(e.JobsStarted).reached()
        before = await agent.world.store.read(lambda c: attempts.live_at(c, "alpha-local"))
    assert before
    age(tmp_path / "state" / "agent.db")
    gate.touch()
    async with running(tmp_path) as agent:
        await agent.fact(e.WorkflowsCompleted).reached()
        assert await agent.world.store.read(lambda c: laws.check(c, now=agent.world.clock.time())) == []
    tokens = ran.read_text().split()
    assert len(tokens) == len(set(tokens)) == 4
    assert set(tokens) == set(before), "no job ran under another token than the one it had before"
    files = (tmp_path / "gamma/storage").rglob("*.txt")
    assert sorted(int(line) for path in files for line in path.read_text().split()) == list(range(1, 41))
