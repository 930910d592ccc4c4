"""Keeps the one SSH connection to a host: opened when first wanted, kept alive, opened again after a loss.

Host keys are always checked (asyncssh reads known_hosts like OpenSSH does); an unknown or changed one is refused, and what
the file says then stays final until somebody changes the file.
"""

import asyncio
import math
import os
import random
import re
from collections.abc import Sequence
from typing import Any, cast

import asyncssh
import msgspec
from asyncssh import SSHClientConnectionOptions as Options

from backends.channel.base import ChannelError, HostKeyChanged, NotAdmitted, Unreachable
from config.site_settings import Host
from supervisors import Clock

HEALTHY_S = 60.0
"""A connection that lasted so long was a good one: after its loss the waits start anew."""

JUMP = re.compile(r"(?:ssh://)?(?:(?P<user>.+)@)?(?P<host>\[[^]]+\]|[^:]+)(?::(?P<port>\d+))?")
"""One host of ProxyJump (ssh_config(5)), which lists them with commas in the order of the way."""

FARTHEST = 8
"""Most jump hosts that lead to a jump host; more are a circle."""

SYSTEM_WIDE = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
"""GlobalKnownHostsFile, where the configuration names none (ssh_config(5)); it may be missing."""

FAST_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"
"""Preferred unless the SSH configuration names Ciphers: twice as fast here as chacha20 (bench/storage_elements.py)."""


class Connection:
    """The connection to one host. `jump` is that of the host it goes through; else one to each that ProxyJump names."""

    def __init__(
        self,
        name: str,
        settings: Host,
        clock: Clock,
        jump: "Connection | None" = None,
        chance: random.Random | None = None,
        stage: int = 0,
    ) -> None:
        self.name = name
        self.made = 0
        self.failures = 0
        self.reason = ""
        self.since = clock.time()
        self.blocked: NotAdmitted | None = None
        self._settings = settings
        self._clock = clock
        self._jump = jump
        self._stage = stage
        self._way: Any = None
        self._on_it: list[Connection] = []
        self._chance = chance or random.SystemRandom()
        self._open: asyncssh.SSHClientConnection | None = None
        self._opened_at = 0.0
        self._attempt: asyncio.Task[ChannelError | None] | None = None
        self._in_a_row = 0
        self._next_try = -math.inf
        self._files_seen: tuple[Any, ...] = ()
        self._seen = _Seen()

    @property
    def state(self) -> str:
        if self._open is not None:
            return "open"
        if self.blocked is not None:
            return "blocked" if isinstance(self.blocked, HostKeyChanged) else "refused"
        if self._next_try > self._clock.monotonic():
            return "waiting"
        return "connecting" if self._attempt is not None else "closed"

    @property
    def next_try_in(self) -> float:
        """Seconds until the next try is allowed; infinite when a person has to do something first."""
        return max(0.0, self._next_try - self._clock.monotonic())

    async def get(self) -> asyncssh.SSHClientConnection:
        """Return the open connection; open it, or wait for the next try, if there is none.

        One try serves all who wait. Raise Unreachable, NotAdmitted or HostKeyChanged if it fails.
        """
        if self._open is None:
            self._stay_out()
            if self._attempt is None:
                self._attempt = asyncio.create_task(self._try(), name=f"connect {self.name}")
            fault = await asyncio.shield(self._attempt)
            if fault is not None:
                raise fault
        if self._open is None:
            raise Unreachable(f"host {self.name}: the connection was lost at once: {self.reason}")
        return self._open

    async def close(self) -> None:
        """Let go of the connection; the next `get` opens another."""
        if self._attempt is not None:
            self._attempt.cancel()
            await asyncio.gather(self._attempt, return_exceptions=True)
        if self._open is not None:
            connection, self._open = self._open, None
            connection.close()
            await connection.wait_closed()
        await self._leave()

    def _stay_out(self) -> None:
        """Raise again what a person has to mend, until the files that it depends on change or its time is over."""
        if self.blocked is None:
            return
        if self._clock.monotonic() < self._next_try and self._files() == self._files_seen:
            raise type(self.blocked)(str(self.blocked))
        self.blocked, self._next_try = None, -math.inf

    async def _try(self) -> ChannelError | None:
        """Open the connection; return what went wrong, which all who wait for this try are told."""
        try:
            await asyncio.sleep(self.next_try_in)
            async with asyncio.timeout(self._settings.connect_s):
                self._open = await self._connect()
        except (NotAdmitted, Unreachable) as error:
            return self._failed(error)
        except TimeoutError:
            return self._failed(Unreachable(f"host {self.name}: no connection within {self._settings.connect_s:g} s"))
        except (asyncssh.Error, OSError) as error:
            return self._failed(self._judged(error))
        finally:
            self._attempt = None
        self.made += 1
        self.reason, self.since = "", self._clock.time()
        self._opened_at = self._clock.monotonic()
        return None

    async def _connect(self) -> asyncssh.SSHClientConnection:
        address = self._settings.address or self.name
        options = await self._options(address)
        through = self._jump or await self._named(options.tunnel if options.tunnel != address else None)
        tunnel = await through.get() if through is not None else None
        return await asyncssh.connect(address, tunnel=tunnel, options=options)

    async def _named(self, way: Any) -> "Connection | None":
        """Return the connection to the last host that ProxyJump names; each is checked and kept alive as any other."""
        if way != self._way:
            await self._leave()
            for word in str(way).split(",") if way else ():
                self._on_it.append(self._station(word.strip(), self._on_it[-1] if self._on_it else None))
            self._way = way
        return self._on_it[-1] if self._on_it else None

    def _station(self, word: str, before: "Connection | None") -> "Connection":
        found = JUMP.fullmatch(word)
        if found is None or self._stage >= FARTHEST:
            expected = "[user@]host[:port], not reached through itself"
            raise NotAdmitted(f"host {self.name}: ProxyJump {word!r} of its SSH configuration, expected {expected}")
        host, port = found["host"].strip("[]"), found["port"]
        own = {"address": host, "port": int(port) if port else None, "user": found["user"]}
        settings = msgspec.structs.replace(self._settings, **own, identity_files=[], known_hosts=None, jump=None)
        return Connection(host, settings, self._clock, before, self._chance, self._stage + 1)

    async def _leave(self) -> None:
        """Close the connections to the hosts that ProxyJump names, the farthest first."""
        while self._on_it:
            await self._on_it.pop().close()
        self._way = None

    async def _options(self, address: str) -> Options:
        set_ = self._settings
        given: dict[str, Any] = {"port": set_.port, "username": set_.user}
        given = {key: value for key, value in given.items() if value is not None}
        given["config"] = set_.ssh_config or ()  # the user's own; None would mean none
        if set_.identity_files:
            given["client_keys"] = self._identities()
        try:
            base = await Options.construct(None, host=address, **given)
            self._seen = _Seen([set_.known_hosts] if set_.known_hosts else _files(base.config))
            self._files_seen = self._files()
            if not base.config.get("Ciphers"):
                given["encryption_algs"] = FAST_CIPHERS
            given |= {"host": address, "password_auth": False, "kbdint_auth": False}
            given |= {"keepalive_interval": set_.keepalive_s, "keepalive_count_max": set_.keepalive_tries}
            given |= {"known_hosts": self._seen.match, "client_factory": lambda: _Watch(self)}
            return cast("Options", await Options.construct(None, **given))
        except (OSError, ValueError, asyncssh.Error, asyncssh.KeyImportError, asyncssh.ConfigParseError) as fault:
            raise NotAdmitted(f"host {self.name}: its keys or SSH configuration cannot be used: {fault}") from fault

    def _judged(self, error: Exception) -> ChannelError:
        """Say what a failed connection means, and what to do."""
        if isinstance(error, asyncssh.HostKeyNotVerifiable | asyncssh.KeyExchangeFailed) and self._seen.known:
            return HostKeyChanged(
                f"host {self.name} shows a key that is not the known one ({self._seen.shown or error}): somebody may stand "
                f"between, or the host was set up anew. Ask its administrators; then put the right key into "
                f"{self._seen.place}, which is noticed"
            )
        if isinstance(error, asyncssh.HostKeyNotVerifiable):
            return NotAdmitted(
                f"host {self.name} is not known ({self._seen.shown or error}): compare this fingerprint with the one that "
                f"the site publishes, then add the line of `ssh-keyscan` to {self._seen.place}"
            )
        if isinstance(error, asyncssh.PermissionDenied):
            user = self._settings.user or "the default user"
            return NotAdmitted(
                f"host {self.name} does not admit {user}: {error.reason}; expected a key or agent it takes"
            )
        return Unreachable(f"host {self.name} cannot be reached: {error}")

    def _failed(self, error: ChannelError) -> ChannelError:
        self.failures += 1
        self.reason, self.since = str(error), self._clock.time()
        now = self._clock.monotonic()
        if isinstance(error, NotAdmitted):
            self.blocked = error
            self._next_try = math.inf if isinstance(error, HostKeyChanged) else now + self._settings.refused_s
        else:
            self._next_try = now + self._pause()
        return error

    def _pause(self) -> float:
        """Return the wait before the next try, in seconds: 1 s × 2ⁿ to 60 s by default, up to half of it at random less."""
        pause = min(self._settings.retry_cap_s, self._settings.retry_base_s * 2.0 ** min(self._in_a_row, 30))
        self._in_a_row += 1
        return pause * (0.5 + self._chance.random() / 2)

    def shown(self, fingerprint: str) -> None:
        """Called by asyncssh with a host key that is not a known one."""
        self._seen.shown = fingerprint

    def lost(self, error: Exception | None) -> None:
        """Called by asyncssh when the connection is gone."""
        if self._open is None:
            return
        self._open = None
        now = self._clock.monotonic()
        if now - self._opened_at >= HEALTHY_S:
            self._in_a_row = 0
        self.failures += 1
        self._next_try = now + self._pause()
        self.reason, self.since = f"host {self.name}: the connection was lost: {error or 'closed'}", self._clock.time()

    def _identities(self) -> list[str]:
        return [os.path.expanduser(path) for path in self._settings.identity_files]

    def _files(self) -> tuple[Any, ...]:
        """Return what tells whether the files that admit us have changed."""
        paths = [*self._seen.paths, *self._identities()]
        paths.append(self._settings.ssh_config or os.path.expanduser("~/.ssh/config"))
        return tuple(_stamp(path) for path in paths)


class _Seen:
    """What known_hosts says of a host, and the key that the host showed if that is another."""

    def __init__(self, paths: Sequence[str] = ()) -> None:
        self.paths = [os.path.expanduser(path) for path in paths or ("~/.ssh/known_hosts",)]
        self.known = False
        self.shown = ""

    @property
    def place(self) -> str:
        return self.paths[0]

    def match(self, host: str, address: str, port: int | None) -> Any:
        """Look the host up, as asyncssh asks; a file that is not there knows nobody."""
        there = [path for path in self.paths if os.path.isfile(path)]
        found = asyncssh.match_known_hosts(there, host, address, port) if there else ([],) * 7
        self.known = bool(found[0] or found[1])
        return found


class _Watch(asyncssh.SSHClient):
    """What asyncssh tells of one connection."""

    def __init__(self, owner: Connection) -> None:
        self._owner = owner

    def validate_host_public_key(self, *shown: Any) -> bool:
        self._owner.shown(shown[-1].get_fingerprint())
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.lost(exc)


def _files(config: Any) -> list[str]:
    """Return the names of known_hosts files; "none" in a configuration is not taken for leave to trust anybody."""
    own = config.get("UserKnownHostsFile") or ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
    return [*own, *(config.get("GlobalKnownHostsFile") or SYSTEM_WIDE)]


def _stamp(path: str) -> tuple[str, int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return path, 0, 0
    return path, found.st_mtime_ns, found.st_size
