"""The configuration of a simulated agent: sites and targets of the scenario, its pace, its own tables on top."""

from pathlib import Path
from typing import Any

from config.faults import Faults, convert_collecting
from config.settings import Settings
from domain.spans import seconds
from services.simulation.outside import MANAGER, ahead
from services.simulation.scenario import Scenario, SimulatedSite

NAME = "simulated"
SWEEPING = ("queue", "report", "merge", "catalogue", "transfer", "cleanup", "monitor", "events", "disk")
"""Tables with a key `sweep_s`."""
NEVER_S = 1e30
RENEWALS = 4
"""How often a lease is renewed in its time."""


def agent_settings(scenario: Scenario, scratch: Path) -> Settings:
    """Return the settings of the agent; raise Faults for tables of the scenario that will not do."""
    pace = seconds(scenario.pace)
    data: dict[str, Any] = {name: {"sweep_s": pace} for name in SWEEPING}
    data |= {
        "agent": {"name": NAME, "state": str(scratch)},
        "admin": {"enabled": False},
        "backup": {"enabled": False},
        "prodmgr": [_manager(scenario)],
        "sites": {name: _site(site, seconds(scenario.poll)) for name, site in scenario.sites.items()},
    }
    data["disk"] |= {
        "intake_percent": 100.0,
        "submit_percent": 100.0,
        "write_percent": 100.0,
    }  # it is nobody's real disk
    data["events"]["compact_every_s"] = max(3600.0, pace)
    data["queue"]["lease_s"] = max(60.0, pace)
    data["queue"]["backlog_s"] = max(60.0, 2 * pace)  # what waits for a look of its stage is not behind
    data["monitor"]["verify_every_s"] = NEVER_S  # the simulation proves the books itself
    for table, keys in scenario.agent.items():
        data[table] = {**data.get(table, {}), **keys} if isinstance(data.get(table, {}), dict) else keys
    settings, faults = convert_collecting(data, Settings, "scenario", at="agent")
    if faults:
        raise Faults(faults)
    made: Settings = settings
    return made


def _manager(scenario: Scenario) -> dict[str, Any]:
    slots = sum(target.slots for _, target in scenario.targets.values())
    lease = min(order.policy.lease_s for order in scenario.requests)
    return {
        "name": MANAGER,
        "url": "http://simulated",
        "token_env": "NONE",
        "low": slots,
        "poll_s": seconds(scenario.poll),
        "renew_s": lease / RENEWALS,
        "max_events": max(2 * slots * max(order.events_per_job for order in scenario.requests), 1),
    }


def _site(site: SimulatedSite, poll: float) -> dict[str, Any]:
    targets = {
        name: {
            "kind": "simulated",
            "poll_s": poll,
            "max_submit": 1000,
            "limits": {"processing": ahead(target), "merge": max(1, ahead(target) // 5)},
        }
        for name, target in site.targets.items()
    }
    meant = {"groups": site.groups, "fillers": site.fillers} if site.groups else {}
    return {"storage": {"kind": "memory"}, "targets": targets, **meant}
