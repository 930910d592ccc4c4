"""A small agent that serves its pages: the real admin actor and store, probes in place of the stages it talks to."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from actors.admin import Admin
from actors.messages import (
    AllowNode,
    CancelTransfers,
    Changed,
    ConfirmFeed,
    ControlsChanged,
    DropLetters,
    DropSite,
    ExcludeNode,
    HoldWorkflow,
    KillJobs,
    LettersChanged,
    LiftControl,
    LimitSet,
    ListSites,
    PutSite,
    Refused,
    Reload,
    Reloaded,
    ReplayLetters,
    RetryJobs,
    RetryTransfers,
    RevertNeeds,
    Revised,
    ReviseWorkflow,
    SetControl,
    SetLimit,
    SettingChange,
    Submitted,
    SubmitWorkflow,
)
from actors.world import World
from backends.channel.hosts import Hosts
from storage.sandboxes import Sandboxes
from storage.store import Store
from supervisors import ActorSystem, ChildSpec, SupervisorSpec, SystemClock
from supervisors.testing import Probe
from tests.unit.admin import filled


def answer(message: Any) -> Any:
    """What the stages say."""
    match message:
        case SubmitWorkflow():
            if message.spec.name == "taken":
                raise Refused("workflow 'taken' exists with other content")
            return Submitted(workflow=3, name=message.spec.name, new=True, events=message.spec.events, jobs=2)
        case RetryJobs() | KillJobs():
            return Changed(
                ids=[job for job in message.jobs if job < 20] or ([5] if message.workflow or message.request else [])
            )
        case ExcludeNode() | AllowNode():
            return Changed(ids=[1] if message.node.startswith("bad") else [])
        case RetryTransfers() | CancelTransfers():
            return Changed(ids=message.ids or [1])
        case HoldWorkflow():
            return Changed(ids=[1] if message.workflow == "zmumu" or not message.hold else [])
        case ConfirmFeed():
            return ControlsChanged(subjects=["alpha", "beta"])
        case ReviseWorkflow() | Reload() | PutSite() | DropSite() | RevertNeeds():
            return changed(message)
        case SetControl() | LiftControl() | SetLimit() | ListSites():
            return ruled(message)
        case ReplayLetters() | DropLetters():
            return LettersChanged(facts=message.facts, mail=message.mail)
        case "crash":
            raise ValueError("a <b>bug</b>")
    return None


def ruled(message: SetControl | LiftControl | SetLimit | ListSites) -> ControlsChanged | LimitSet | Changed:
    """What the steward says."""
    if isinstance(message, ListSites):
        return Changed(ids=[job for job in message.jobs if job < 20])
    if isinstance(message, SetLimit):
        return LimitSet(before=5, after=message.value, configured=5)
    return ControlsChanged(subjects=message.subjects)


def changed(message: ReviseWorkflow | Reload | PutSite | DropSite | RevertNeeds) -> Revised | Reloaded | Changed:
    """What those say that change what the agent works by."""
    if isinstance(message, Reload | PutSite | DropSite):
        key = SettingChange(key="sites.alpha.targets.a.limits.merge", before="10", after="20", restart=False)
        port = SettingChange(key="admin.port", before="0", after="1", restart=True)
        return Reloaded(changes=[key, port], leaving=["old"], failed=[])
    if isinstance(message, RevertNeeds):
        return Changed(ids=[5, 6])
    if message.revision.sites == ["nowhere"]:
        raise Refused("sites: no site 'nowhere'; expected one of alpha, beta")
    return Revised(version=2, changes=["memory_mb: 2000 -> 3000"], withdrawn=4)


class Agent:
    """What a test sees: the tree, the store, and a client that holds the token or does not."""

    def __init__(self, system: ActorSystem, store: Store, state: Path, client: aiohttp.ClientSession) -> None:
        self.system = system
        self.store = store
        self.state = state
        self.client = client

    @property
    def file(self) -> dict[str, Any]:
        return json.loads((self.state / "agent.json").read_text())

    @property
    def url(self) -> str:
        return self.file["url"]

    def probe(self, name: str) -> Probe:
        probe = self.system.ref(name)._actor_weakref()
        assert isinstance(probe, Probe)
        return probe

    async def get(self, path: str, status: int = 200, **headers: str) -> Any:
        async with self.client.get(self.url + path, headers=headers) as got:
            assert got.status == status, await got.text()
            return await got.json() if got.content_type == "application/json" else await got.text()

    async def post(self, path: str, body: Any = None, status: int = 200, *, token: bool = True, **headers: str) -> Any:
        return await self.act("POST", path, body, status, token=token, **headers)

    async def act(
        self, method: str, path: str, body: Any = None, status: int = 200, *, token: bool = True, **headers: str
    ) -> Any:
        if token:
            headers["Authorization"] = f"Bearer {self.file['token']}"
        async with self.client.request(method, f"{self.url}/api/v1{path}", json=body or {}, headers=headers) as got:
            assert got.status == status, await got.text()
            return await got.json()


def world(state: Path, store: Store, hosts: Hosts | None = None, **admin: Any) -> World:
    return World(
        hosts=hosts or Hosts({}),
        settings=filled.settings(state, **admin),
        store=store,
        clock=SystemClock(),
        sandboxes=Sandboxes(state / "sandboxes"),
        batches={},
        storages={},
        stage_out={},
        managers={},
    )


def tree(start: Callable[[], Admin]) -> SupervisorSpec:
    stages = [
        ChildSpec(name, lambda: Probe(answer))
        for name in ("injector", "steward", "reviser", "reloader", "queue", "error", "postmaster", "transfer", "feed")
    ]
    return SupervisorSpec("agent", (SupervisorSpec("stages", tuple(stages)), ChildSpec("admin", start)))


@asynccontextmanager
async def running(state: Path, hosts: Hosts | None = None, **admin: Any) -> AsyncIterator[Agent]:
    store = await filled.opened(state)
    shared = world(state, store, hosts, **admin)
    system = ActorSystem(tree(lambda: Admin(shared)))
    try:
        await system.start()
        async with aiohttp.ClientSession() as client:
            yield Agent(system, store, state, client)
    finally:
        await system.stop(drain=0)
        await store.close()
