"""A host that shows another key is a critical alert for people, and a figure for monitoring, for as long as it does."""

from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from actors.admin_pages.metrics import _hosts
from actors.messages import Wake
from actors.monitor import Monitor
from actors.world import World
from backends.channel.base import ChannelError
from backends.channel.hosts import Hosts
from config.settings import Agent, Settings
from run_agent import connected
from storage import alerts
from storage.sandboxes import Sandboxes
from storage.store import Store
from supervisors import ActorSystem, ChildSpec, SupervisorSpec, SystemClock
from tests.real.sshd import Sshd


@pytest.mark.feature("PA-305")
async def test_a_changed_key_is_told_and_taken_back(tmp_path: Path) -> None:
    clock = SystemClock()
    store = await Store.open(f"sqlite:///{tmp_path}/agent.db")
    with Sshd(tmp_path / "sshd") as server:
        server.new_host_key()
        hosts = Hosts({"alps": server.host()}, clock)
        world = World(
            settings=Settings(agent=Agent(name="test")),
            store=store,
            clock=clock,
            sandboxes=Sandboxes(tmp_path),
            batches={},
            storages={},
            stage_out={},
            managers={},
            hosts=hosts,
        )
        monitor = ChildSpec("monitor", partial(Monitor, world))
        system = connected(world, ActorSystem(SupervisorSpec("root", (monitor,)), clock=clock))
        await system.start()
        server.kill()
        server.start()  # with the new key, while known_hosts has the old one
        with suppress(ChannelError):
            await hosts.ssh("alps").run(["true"])
        await system.ref("monitor").ask(Wake())
        told = [each for each in await store.read(alerts.open_alerts) if each.code == "host-blocked"]
        assert [(each.level, each.subject) for each in told] == [("critical", "host alps")]
        assert str(server.known_hosts) in told[0].text
        figures = {family.name: family.samples[0].value for family in _hosts(hosts.states())}
        assert figures["prodagent_host_up"] == 0
        server.trust()
        await hosts.ssh("alps").run(["true"])
        await system.ref("monitor").ask(Wake())
        assert [each for each in await store.read(alerts.open_alerts) if each.code == "host-blocked"] == []
        figures = {family.name: family.samples[0].value for family in _hosts(hosts.states())}
        assert (figures["prodagent_host_up"], figures["prodagent_host_calls"]) == (1, 1)
        await system.stop()
        await hosts.close()
        await store.close()
