"""Opens the backends that a configuration names: all at the start, single ones when it is read anew."""

import os
from collections.abc import Mapping
from typing import Any

from backends.batch.base import BatchSystem
from backends.channel.hosts import Hosts, Known
from backends.opening import open_batch, open_batches, open_storage, open_storages, settings_of, stage_out_rules
from backends.prodmgr.base import ProdMgr
from backends.prodmgr.http import HttpProdMgr
from backends.storage_element.base import StorageElement
from config.loader import Loaded, load
from config.secret import token
from config.site_settings import Host


class Opener:
    """What backends are made with, and the file that names them."""

    def __init__(self, loaded: Loaded, hosts: Hosts, offered: Mapping[str, object]) -> None:
        self.loaded = loaded
        """The configuration that is in force, without what is on its way out of it."""
        self._hosts = hosts
        self._offered = {**offered, "hosts": hosts}

    def read(self, sites: Mapping[str, Any]) -> Loaded:
        """Read the file as it is now, with the tables of sites beside it. Raises ConfigError with all that is wrong."""
        return load(self.loaded.path, settings_of, sites=sites)

    def know(self, hosts: Mapping[str, Host]) -> Known:
        """Take further hosts on, and other settings of those that are known; return what was known before."""
        return self._hosts.learn(hosts)

    async def forget(self, before: Known) -> None:
        """What was learnt will not do."""
        await self._hosts.go_back(before)

    async def part(self, before: Known) -> None:
        """Nobody goes over channels of before any more."""
        await self._hosts.part(before)

    def batch(self, loaded: Loaded, target: str) -> BatchSystem:
        """Make the batch system of a target. Raises ConfigError."""
        at = next(name for name, site in loaded.settings.sites.items() if target in site.targets)
        return open_batch(loaded, at, target, self._offered)

    def batches(self, loaded: Loaded) -> dict[str, BatchSystem]:
        """Make those of all targets. Raises ConfigError."""
        return open_batches(loaded, self._offered)

    def storage(self, loaded: Loaded, site: str) -> StorageElement:
        """Make the storage element of a site. Raises ConfigError."""
        return open_storage(loaded, site, self._offered)

    def storages(self, loaded: Loaded) -> dict[str, StorageElement]:
        """Make those of all sites. Raises ConfigError."""
        return open_storages(loaded, self._offered)

    def stage_out(self, loaded: Loaded) -> dict[str, list[dict[str, Any]]]:
        """Return what nodes are told about the storage of each site."""
        return stage_out_rules(loaded)

    def manager(self, loaded: Loaded, name: str) -> ProdMgr:
        """Make the client of a ProdMgr. Raises SecretError."""
        (wanted,) = (each for each in loaded.settings.prodmgr if each.name == name)
        secret, agent = token(wanted, os.environ), loaded.settings.agent.name
        return HttpProdMgr(wanted.url, secret, agent=agent, deadline_s=wanted.call_deadline_s)

    def managers(self, loaded: Loaded) -> dict[str, ProdMgr]:
        """Make those of all of them. Raises SecretError."""
        return {each.name: self.manager(loaded, each.name) for each in loaded.settings.prodmgr}
