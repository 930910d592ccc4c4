"""The channels of one agent, by the names of the hosts in its configuration: one each, whoever asks."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from backends.channel import openssh
from backends.channel.base import Channel, ChannelState
from backends.channel.local import LOCAL, LocalChannel
from config.site_settings import Host
from supervisors import Clock, SystemClock

if TYPE_CHECKING:  # asyncssh takes a quarter of a second: an agent without hosts starts without it
    from backends.channel.connection import Connection
    from backends.channel.ssh import SshChannel


class Known(NamedTuple):
    """What was known of hosts, and the channels to them that are open."""

    settings: Mapping[str, Host]
    channels: "dict[str, SshChannel]"
    local: LocalChannel


def reached_otherwise(before: Mapping[str, Host], after: Mapping[str, Host]) -> frozenset[str]:
    """Return the hosts that had other settings before, and those that are reached through them. This machine has settings too
    where it has no table."""
    known = {LOCAL: Host(), **before}
    changed = {name for name, host in known.items() if name in after and after[name] != host}
    while behind := {name for name, host in before.items() if host.jump in changed} - changed:
        changed |= behind
    return frozenset(changed)


async def _close(channels: "Mapping[str, SshChannel]", kept: "Mapping[str, SshChannel]") -> None:
    gone = [channel for name, channel in channels.items() if kept.get(name) is not channel]
    await asyncio.gather(*(channel.close() for channel in gone))


class Hosts:
    """What `hosts` in a configuration says, ready to use. Nothing is contacted before somebody calls."""

    def __init__(self, settings: Mapping[str, Host], clock: Clock | None = None) -> None:
        self._settings = dict(settings)
        self._clock = clock or SystemClock()
        self._local = LocalChannel(settings.get(LOCAL))
        self._channels: dict[str, SshChannel] = {}

    def learn(self, settings: Mapping[str, Host]) -> Known:
        """Take further hosts on, and other settings of those that are known: whoever asks for a channel from now on gets one that
        goes by them. Return what was known before; what is open stays open until `part`."""
        before = Known(self._settings, self._channels, self._local)
        changed = reached_otherwise(self._settings, settings)
        self._settings = {**self._settings, **settings}
        self._channels = {name: channel for name, channel in self._channels.items() if name not in changed}
        if LOCAL in changed:
            self._local = LocalChannel(self._settings.get(LOCAL))
        return before

    async def go_back(self, before: Known) -> None:
        """What was learnt will not do: as before, again."""
        made = self._channels
        self._settings, self._channels, self._local = dict(before.settings), before.channels, before.local
        await _close(made, self._channels)

    async def part(self, before: Known) -> None:
        """Close the channels that nobody is given any more."""
        await _close(before.channels, self._channels)
        if before.local is not self._local:
            await before.local.close()

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
