"""The running agent, as agent.json tells where it is."""

import getpass
import os
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from services.console.exits import Exit, Stop
from services.console.session import Session, run

T = TypeVar("T")

PATIENCE_S = 30.0
WHO = "X-Prodagent-Who"


class AgentFile(msgspec.Struct, frozen=True, kw_only=True):
    """What agent.json says; `started` in UTC epoch seconds."""

    pid: int
    url: str
    token: str
    started: float


class NoAgent(Stop):
    """It does not run, or does not answer."""

    def __init__(self, text: str) -> None:
        super().__init__(Exit.NO_AGENT, text)


class Agent:
    """Calls of the programming interface."""

    def __init__(self, path: Path, file: AgentFile) -> None:
        self.path = path
        self.file = file

    @classmethod
    def of(cls, session: Session) -> "Agent":
        """Find the agent of a configuration; raises NoAgent, naming the file looked for."""
        path = session.state / "agent.json"
        try:
            return cls(path, msgspec.json.decode(path.read_bytes(), type=AgentFile))
        except FileNotFoundError:
            off = "" if session.loaded.settings.admin.enabled else "; admin.enabled is off in the configuration"
            raise NoAgent(f"the agent does not run: there is no {path}{off}") from None
        except (OSError, msgspec.MsgspecError) as error:
            raise NoAgent(f"{path} cannot be read: {error}") from None

    def get(self, path: str, kind: type[T]) -> T:
        """Look; raises Stop."""
        return msgspec.json.decode(run(self._call("GET", path, None)), type=kind)

    def post(self, path: str, body: dict[str, Any], kind: type[T]) -> T:
        """Act; raises Stop."""
        return msgspec.json.decode(run(self._call("POST", path, body)), type=kind)

    def change(self, method: str, path: str, body: dict[str, Any], kind: type[T]) -> T:
        """Act by another method, such as PUT; raises Stop."""
        return msgspec.json.decode(run(self._call(method, path, body)), type=kind)

    async def _call(self, method: str, path: str, body: dict[str, Any] | None) -> bytes:
        import aiohttp  # a command that finds no agent does without it

        headers = {"Authorization": f"Bearer {self.file.token}", WHO: _user()}
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers=headers) as client,
                client.request(method, f"{self.file.url}/api/v1{path}", json=body) as answer,
            ):
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoAgent(f"{self._silent(error)}; looked for in {self.path}") from None
        if answer.status >= 400:
            raise _refused(answer.status, content)
        return content

    def _silent(self, error: Exception) -> str:
        try:
            os.kill(self.file.pid, 0)
        except ProcessLookupError:
            return f"the agent does not run: its process {self.file.pid} is gone"
        except PermissionError:
            pass
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error or "no answer in time"
        return f"the agent (process {self.file.pid}) does not answer at {self.file.url} ({why})"


def part(name: str) -> str:
    """Return a name as one part of a path; raises Stop for an empty one."""
    if not name:
        raise Stop(Exit.USAGE, "got an empty name, expected that of something")
    return quote(name, safe="")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no entry for this user id
        return f"uid {os.getuid()}"


def _refused(status: int, content: bytes) -> Stop:
    try:
        text = str(msgspec.json.decode(content)["error"]["text"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        text = f"the agent answered {status}: {content[:200].decode(errors='replace')}"
    code = {400: Exit.USAGE, 413: Exit.USAGE, 503: Exit.NO_AGENT, 504: Exit.NO_AGENT}.get(status, Exit.FAILED)
    return Stop(code, text)
