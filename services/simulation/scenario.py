"""What is simulated, as people write it: sites, requests, what happens and when (TOML)."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from config.faults import Fault, Faults, convert_collecting, nearest
from config.settings import Settings
from domain.controls import Mode
from domain.policy import PolicySettings
from domain.spans import seconds
from domain.spec import Name

Span = Annotated[
    str,
    Meta(
        pattern=r"^\d+(\.\d+)? ?(ms|s|min|h|d|w|y)$",
        description='a time such as "90 s", "15 min", "36 h", "7 d", "1 y"',
    ),
]
Lasting = Annotated[
    str,
    Meta(
        pattern=r"^(?=[\d.]*[1-9])\d+(\.\d+)? ?(ms|s|min|h|d|w|y)$",
        description='a time above 0 such as "90 s", "15 min", "36 h", "7 d", "1 y"',
    ),
]
Leap = Annotated[
    str, Meta(pattern=r"^-?\d+(\.\d+)? ?(ms|s|min|h|d|w|y)$", description='a time such as "1 d", or back: "-1 d"')
]
Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class SimulatedTarget(_Table, frozen=True, kw_only=True):
    """One batch system: its slots, how long jobs run, which share of them goes wrong.

    Run times are log-normal around the median `run`, of merges `merge_run`, with the width `spread`. Shares are of attempts:
    `success` end well, of these `full_events` with all their events; `lost` vanish; `held` wait for `hold`; `duplicated` are
    told of twice; `late` show their end `late_by` after it; `lying` report an output that they never wrote.
    """

    slots: Positive = 100
    nodes: Positive = 10
    run: Span = "1 h"
    merge_run: Span = "20 min"
    spread: Annotated[float, Meta(ge=0, le=3)] = 0.3
    success: Share = 1.0
    full_events: Share = 1.0
    lost: Share = 0.0
    held: Share = 0.0
    hold: Span = "1 h"
    duplicated: Share = 0.0
    late: Share = 0.0
    late_by: Span = "5 min"
    lying: Share = 0.0
    ahead: Annotated[float, Meta(ge=1)] = 1.5
    """How many jobs the agent keeps there, pending and running, per slot."""


class SimulatedSite(_Table, frozen=True, kw_only=True):
    """A storage element (`capacity_gb` 0: without end) and the batch systems beside it; without any it only receives.
    `groups` and `fillers` are as in the agent's configuration."""

    capacity_gb: Annotated[float, Meta(ge=0)] = 0.0
    groups: list[Name] = []
    fillers: bool = False
    targets: dict[Name, SimulatedTarget] = {}


class Order(_Table, frozen=True, kw_only=True):
    """One request that somebody makes `at` a time; sizes are of its files, a job that runs longer than `wall` is ended.
    `group` and `max_sites` are as in a workflow."""

    name: Name
    events: Positive
    events_per_job: Positive = 1000
    at: Span = "0 s"
    priority: Annotated[int, Meta(ge=0, le=9999)] = 100
    sites: list[str] = []
    max_sites: Positive | None = None
    group: Name | None = None
    deliver_to: list[str] = []
    event_kb: Annotated[float, Meta(gt=0)] = 100.0
    merge_files: Positive = 10
    attempts: Positive = 3
    wall: Span = "7 d"
    policy: PolicySettings = PolicySettings(jobs_per_allocation=100, complete_below=0.0)


class Network(_Table, frozen=True, kw_only=True):
    """What is between the agent and everything else: `answer` is the mean time of a call; shares are of calls.

    `broken` calls never arrive. Of `unanswered` ones the effect is there and the answer is not: the worst of doubts.
    """

    answer: Span = "100 ms"
    broken: Share = 0.0
    unanswered: Share = 0.0


What = Literal[
    "site-down", "site-mode", "target-away", "target-slow", "storage-away", "storage-full", "prodmgr-away", "store-away",
    "agent-down", "agent-kills", "clock-jump", "black-holes", "failures",
]  # fmt: skip

NEEDS: dict[str, tuple[tuple[str, ...], str]] = {
    "site-down": (("site", "for"), "nothing answers there and the running jobs die"),
    "site-mode": (
        ("site", "for", "mode"),
        "an operator drains the site, takes it down or sets it to test, then enables it",
    ),
    "target-away": (("target", "for"), "the batch system does not answer, its jobs go on"),
    "target-slow": (("target", "for", "takes"), "each call of the batch system takes that long"),
    "storage-away": (("site", "for"), "the storage element does not answer; jobs cannot leave their outputs"),
    "storage-full": (("site", "for"), "nothing more can be written there"),
    "prodmgr-away": (("for",), "the ProdMgr does not answer"),
    "store-away": (("for",), "the agent's own database takes no writes"),
    "agent-down": (("for",), "the agent is switched off, then started again"),
    "agent-kills": (("every",), "the agent is killed at random moments, that far apart in the mean"),
    "clock-jump": (("by",), "the wall clock of the agent's machine is set wrong by that much"),
    "black-holes": (("target", "nodes"), "that many nodes fail every job within a second"),
    "failures": (("target", "share"), "that share of the jobs fails"),
}
"""What may happen: the keys it needs beside `at`, and what it means."""


class Happening(_Table, frozen=True, kw_only=True):
    """Something that happens `at` a time and lasts `for` a time (without it: until the end)."""

    what: What
    at: Span = "0 s"
    lasts: Span | None = msgspec.field(name="for", default=None)
    site: str | None = None
    target: str | None = None
    takes: Span | None = None
    every: Lasting | None = None
    by: Leap | None = None
    nodes: Positive | None = None
    mode: Mode | None = None
    share: Share | None = None

    def __post_init__(self) -> None:
        needed, _ = NEEDS[self.what]
        given = {field.encode_name for field in msgspec.structs.fields(self) if getattr(self, field.name) is not None}
        if missing := [key for key in needed if key not in given]:
            raise ValueError(f"{self.what} needs {', '.join(needed)}; there is no {' and no '.join(missing)}")
        if strange := sorted(given - {"what", "at", "for", *needed}):
            raise ValueError(f"{self.what} takes {', '.join(('at', *needed))}; got {', '.join(strange)} too")

    @property
    def begins(self) -> float:
        """Seconds from the beginning of the simulation."""
        return seconds(self.at)

    @property
    def ends(self) -> float:
        """Seconds from the beginning; infinite when it lasts to the end."""
        return self.begins + seconds(self.lasts) if self.lasts is not None else float("inf")


class Scenario(_Table, frozen=True, kw_only=True):
    """A world to try the agent in.

    It ends when all that was asked for is done, at the latest after `duration`. Every `pace` the agent looks without
    having been woken, every `poll` it asks its targets: the shorter, the nearer to life and the slower to simulate. A
    killed agent is back after `restart`. All laws of the books are checked at the `proof`: at the end, also after each
    restart, or after each commit too. `agent` holds tables of the agent's own configuration.
    """

    name: Name
    about: str = ""
    duration: Lasting = "30 d"
    pace: Lasting = "10 min"
    poll: Lasting = "2 min"
    seed: NotNegative = 1
    restart: Span = "30 s"
    proof: Literal["end", "restart", "commit"] = "restart"
    sites: Annotated[dict[Name, SimulatedSite], Meta(min_length=1)]
    requests: Annotated[list[Order], Meta(min_length=1)]
    network: Network = Network()
    happens: list[Happening] = []
    agent: dict[str, dict[str, Any]] = {}

    @property
    def duration_s(self) -> float:
        return seconds(self.duration)

    @property
    def targets(self) -> dict[str, tuple[str, SimulatedTarget]]:
        """Site and model of every target, by name."""
        return {name: (place, target) for place, site in self.sites.items() for name, target in site.targets.items()}


def load(path: Path) -> Scenario:
    """Read a scenario; raise Faults with everything that is wrong."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Faults([_fault(str(path), "", f"cannot be read: {error.strerror}; expected a scenario")]) from None
    except (ValueError, RecursionError) as error:
        raise Faults([_fault(str(path), "", f"not TOML in UTF-8: {error}")]) from None
    return read(data, str(path))


def read(data: dict[str, Any], where: str = "scenario") -> Scenario:
    """Turn plain data into a scenario; raise Faults with everything that is wrong."""
    scenario, faults = convert_collecting(data, Scenario, where)
    if scenario is not None:
        faults = list(_misplaced(scenario, where))
    faults += _near(data, where)
    if faults:
        raise Faults(faults)
    checked: Scenario = scenario
    return checked


def _misplaced(scenario: Scenario, where: str) -> list[Fault]:
    """Find names of sites and targets that there are not, doubles, and what cannot work."""
    sites, targets = list(scenario.sites), list(scenario.targets)
    found: list[Fault] = []

    def known(key: str, name: str | None, names: list[str], kind: str) -> None:
        if name is not None and name not in names:
            expected = f"a {kind}: {', '.join(names) or 'none is there'}"
            found.append(Fault(where=where, key=key, got=repr(name), expected=expected, nearest=nearest(name, names)))

    for number, order in enumerate(scenario.requests):
        for key in ("sites", "deliver_to"):
            for name in getattr(order, key):
                known(f"requests[{number}].{key}", name, sites, "site")
    for number, happening in enumerate(scenario.happens):
        known(f"happens[{number}].site", happening.site, sites, "site")
        known(f"happens[{number}].target", happening.target, targets, "target")
    names = [name for site in scenario.sites.values() for name in site.targets]
    found += [_fault(where, f"target {name}", "stands at two sites; expected a name of its own")
              for name in sorted({name for name in names if names.count(name) > 1})]  # fmt: skip
    if not names:
        found.append(_fault(where, "sites", "no site has a target; expected one where jobs can run"))
    doubles = [order.name for order in scenario.requests]
    found += [_fault(where, f"request {name}", "stands twice; expected a name of its own")
              for name in sorted({name for name in doubles if doubles.count(name) > 1})]  # fmt: skip
    _, faults = convert_collecting({"agent": {"name": "simulated"}, **scenario.agent}, Settings, where, at="agent")
    return [*found, *faults]


def _near(data: dict[str, Any], where: str) -> list[Fault]:
    """Offer the nearest word for a happening that there is not."""
    happens = data.get("happens")
    words = [item.get("what") for item in happens if isinstance(item, dict)] if isinstance(happens, list) else []
    return [
        Fault(where=where, key=f"happens[{number}]", got=repr(word), expected="something that can happen", nearest=near)
        for number, word in enumerate(words)
        if isinstance(word, str) and word not in NEEDS and (near := nearest(word, NEEDS))
    ]


def _fault(where: str, key: str, expected: str) -> Fault:
    return Fault(where=where, key=key, got="", expected=expected)
