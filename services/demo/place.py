"""The directory of a demonstration: what lies where, made fresh, and the agent's configuration in it."""

import json
import os
import shutil
import sys
import tomllib
from pathlib import Path

import msgspec

from config.workflow_file import load_workflow
from domain.spec import WorkflowSpec
from services.demo.options import DemoError, DemoOptions

CODE = Path(__file__).resolve().parents[2]
"""Where run_agent.py and examples/ are."""
MARKER = ".prodagent-demo"
WORKERS = ("alpha", "beta")
DESTINATION = "gamma"
JOBS = 20
"""A request of any size is cut into about this many jobs, of at most 1,000 events."""
PAUSE_S = 0.3
"""Each job of the plain example takes at least this long, so that something is to be seen."""


class Place:
    """The files of one demonstration below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.config = self.root / "agent.toml"
        self.store = self.root / "state" / "agent.db"
        self.announcement = self.root / "state" / "agent.json"
        self.workflow = self.root / "workflow" / "workflow.json"
        self.manager_store = self.root / "prodmgr" / "prodmgr.db"
        self.manager_port = self.root / "prodmgr" / "port"
        self.agent_token = self.root / "prodmgr" / "agent.token"
        self.manager_token = self.root / "prodmgr" / "manager.token"
        self.logs = self.root / "logs"
        self.faults = self.root / "faults"

    def storage(self, site: str) -> Path:
        """The storage element of a site."""
        return self.root / "sites" / site / "storage"

    def work(self, site: str) -> Path:
        """Where the batch system of a site runs its jobs."""
        return self.root / "sites" / site / "work"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def check(self) -> None:
        """Raise DemoError if the directory holds anything but an earlier demonstration."""
        if self.root.exists() and not self.root.is_dir():
            raise DemoError(f"{self.root} is not a directory")
        if self.root.is_dir() and any(self.root.iterdir()) and not (self.root / MARKER).exists():
            raise DemoError(f"{self.root} holds other files; expected an empty directory or that of an earlier demo")

    def make(self) -> None:
        """Remove an earlier demonstration and make the directories of a new one."""
        self.check()
        if self.root.exists():
            for entry in self.root.iterdir():
                if entry.name != MARKER:
                    shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / MARKER).touch()
        for directory in (self.store.parent, self.workflow.parent, self.manager_store.parent, self.logs, self.faults):
            directory.mkdir()
        for site in (*WORKERS, DESTINATION):
            self.storage(site).mkdir(parents=True)
        for site in WORKERS:
            self.work(site).mkdir()


def write_workflow(place: Place, options: DemoOptions) -> WorkflowSpec:
    """Copy the example with its files, adapted to the number of events, and return what it says."""
    source = CODE / "examples" / options.example
    spec = load_workflow(source / "workflow.toml").spec
    each = min(spec.events_per_job, max(1, -(-options.events // JOBS)))
    merge = msgspec.structs.replace(spec.merge, max_events=5 * each)
    spec = msgspec.structs.replace(
        spec, events=options.events, events_per_job=each, merge=merge, deliver_to=[DESTINATION]
    )
    if options.example == "plain":
        step = spec.steps[0]
        slower = msgspec.structs.replace(step, command=[*step.command, "--sleep", str(PAUSE_S)])
        spec = msgspec.structs.replace(spec, steps=[slower])
    for name in spec.files:
        shutil.copy(source / name, place.workflow.parent / name)
    place.workflow.write_bytes(msgspec.json.format(msgspec.json.encode(spec), indent=2))
    return spec


def write_config(place: Place, *, manager_url: str, chaos: bool, targets: Path | None = None) -> None:
    """Write the agent's configuration: two sites that work, one that is delivered to, looks at things often."""
    head = HEAD.format(url=manager_url, token=json.dumps(str(place.agent_token)), faults="true" if chaos else "false")
    environment = {"PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))}
    if chaos:
        environment["PRODAGENT_DEMO_FAULTS"] = str(place.faults)
    parts = [head, *(_storage(place, site) for site in (*WORKERS, DESTINATION))]
    parts += [_target(place, site) for site in WORKERS] if targets is None else [targets.read_text(encoding="utf-8")]
    parts += [_environment(site, name, environment) for site, name in _named(parts)]
    place.config.write_text("\n".join(parts), encoding="utf-8")


def _storage(place: Place, site: str) -> str:
    return STORAGE.format(site=site, root=json.dumps(str(place.storage(site))))


def _target(place: Place, site: str) -> str:
    return TARGET.format(site=site, directory=json.dumps(str(place.work(site))), python=json.dumps(str(sys.executable)))


def _named(parts: list[str]) -> list[tuple[str, str]]:
    """Return site and name of each target that the tables make."""
    sites = tomllib.loads("\n".join(parts)).get("sites", {})
    return [(site, name) for site, tables in sites.items() for name in tables.get("targets", {})]


def _environment(site: str, target: str, environment: dict[str, str]) -> str:
    """Let the jobs of a target use the Python of the demonstration, with its physics."""
    variables = "".join(f"{name} = {json.dumps(value)}\n" for name, value in environment.items())
    return f"[sites.{site}.targets.{target}.environment]\n{variables}"


HEAD = """\
# Written by the demonstration. It looks at everything every second; a real agent need not hurry like this.
[agent]
name = "demo"
store = "sqlite:///state/agent.db"
state = "state"

[admin]
port = 0
faults = {faults}

[[prodmgr]]
name = "demo"
url = "{url}"
token_file = {token}
poll_s = 1.0
renew_s = 10.0
retry_base_s = 0.2
retry_cap_s = 2.0

[queue]
sweep_s = 1.0

[tracker]
grace_s = 10.0
lost_s = 30.0

[report]
sweep_s = 1.0

[merge]
sweep_s = 1.0

[catalogue]
sweep_s = 1.0

[transfer]
sweep_s = 1.0
retry_base_s = 1.0
retry_cap_s = 5.0

[cleanup]
sweep_s = 1.0

[monitor]
sweep_s = 5.0

[events]
sweep_s = 1.0
"""
STORAGE = """\
[sites.{site}.storage]
kind = "posix"
root = {root}
"""
TARGET = """\
[sites.{site}.targets.{site}-local]
kind = "local"
directory = {directory}
python = {python}
slots = 1
idle_s = 20.0
hold_failure_s = 0
poll_s = 0.5
limits = {{ processing = 3, merge = 2 }}
"""
