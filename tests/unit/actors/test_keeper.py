"""Keeper over a real store: kinds of failure are kept few."""

from functools import partial
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from actors.keeper import Keeper
from actors.messages import Wake
from actors.world import World
from config.settings import Settings
from storage import bulk, causes, schema, workflows
from storage.sandboxes import Sandboxes
from storage.store import Store, Tx
from supervisors import ActorSystem, ChildSpec, SupervisorSpec
from tests.unit.actors.ruling import HandClock
from tests.unit.storage.conftest import make_spec


@pytest.mark.feature("PA-416")
async def test_too_many_kinds_of_failure_become_fewer_at_a_look(tmp_path: Path) -> None:
    clock = HandClock()
    store = await Store.open(f"sqlite:///{tmp_path}/agent.db", clock=clock)
    settings = msgspec.convert({"agent": {"name": "here"}}, Settings)
    world = World(settings, store, clock, Sandboxes(tmp_path), {}, {}, {}, {})
    system = ActorSystem(SupervisorSpec("root", (ChildSpec("keeper", partial(Keeper, world)),)), clock=clock)
    row = {"outcome": "failed", "exit_code": 1, "blame": "site", "site": "s", "fingerprint": "0" * 32, "count": 2}
    row |= {"first_at": 1.0, "last_at": 2.0, "attempt_id": 1, "rule": ""}

    def fill(tx: Tx) -> None:
        owner, _ = workflows.add(tx, make_spec(), name="w", sandbox="", events=1000)
        rows = [{**row, "workflow_id": owner, "node": f"n{number}"} for number in range(causes.MOST + 1)]
        bulk.insert(tx.connection, schema.cause, rows)

    await store.write(fill)
    await system.start()
    try:
        await system.ref("keeper").ask(Wake())
        sums = sa.select(sa.func.count(), sa.func.sum(schema.cause.c["count"]))
        left, failures = await store.read(lambda c: c.execute(sums).one())
        assert (left, failures) == (causes.ENOUGH + 1, 2 * (causes.MOST + 1))
    finally:
        await system.stop(drain=0)
        await store.close()
