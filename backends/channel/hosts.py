"""The channels of one agent, by the names of the hosts in its configuration: one each, whoever asks."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from backends.channel import openssh
from backends.channel.base import Channel, ChannelState
from backends.channel.local import LOCAL, LocalChannel
from config.site_settings import Host
from supervisors import Clock, SystemClock

if TYPE_CHECKING:  # asyncssh takes a quarter of a second: an agent without hosts starts without it
    from backends.channel.connection import Connection
    from backends.channel.ssh import SshChannel


class Hosts:
    """What `hosts` in a configuration says, ready to use. Nothing is contacted before somebody calls."""

    def __init__(self, settings: Mapping[str, Host], clock: Clock | None = None) -> None:
        self._settings = dict(settings)
        self._clock = clock or SystemClock()
        self._local = LocalChannel(settings.get(LOCAL))
        self._channels: dict[str, SshChannel] = {}

    def learn(self, settings: Mapping[str, Host]) -> None:
        """Take further hosts on; what is known of a host stays as it is."""
        self._settings = {**settings, **self._settings}

    def channel(self, name: str) -> Channel:
        """Return the channel to a host. Raise ValueError for one that is not configured."""
        here = name == LOCAL and (name not in self._settings or self._settings[name].address is None)
        return self._local if here else self.ssh(name)

    def ssh(self, name: str) -> "SshChannel":
        """The same for what needs SSH itself, as SFTP does."""
        from backends.channel.ssh import SshChannel

        if name not in self._channels:
            self._channels[name] = SshChannel(self._host(name), self._connection(name, ()), self._clock)
        return self._channels[name]

    def openssh(self, name: str) -> list[str]:
        """Return the options with which OpenSSH's own programs reach a host as its channel does."""
        self._host(name)
        return openssh.options(name, self._settings)

    def states(self) -> list[ChannelState]:
        """Return what there is to see of each host in use, by name."""
        here = [self._local.state()] if self._local.state().calls else []
        return here + [self._channels[name].state() for name in sorted(self._channels)]

    async def close(self) -> None:
        """Close every connection; safe to repeat."""
        await self._local.close()
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))

    def _host(self, name: str) -> Host:
        if name not in self._settings:
            known = ", ".join([LOCAL, *sorted(self._settings)])
            raise ValueError(f"host {name!r} is not configured, expected one of {known}")
        return self._settings[name]

    def _connection(self, name: str, behind: tuple[str, ...]) -> "Connection":
        from backends.channel.connection import Connection

        if name in behind:
            raise ValueError(f"host {name!r} is reached through itself: {' -> '.join((*behind, name))}")
        settings = self._host(name)
        if name in self._channels:
            return self._channels[name].connection
        jump = None
        if settings.jump is not None:
            self._connection(settings.jump, (*behind, name))
            jump = self.ssh(settings.jump).connection
        return Connection(name, settings, self._clock, jump)
