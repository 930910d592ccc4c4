"""Small worlds for tests, as a scenario file would describe them."""

import copy
from typing import Any

SMALL: dict[str, Any] = {
    "name": "small",
    "duration": "3 d",
    "pace": "1 h",
    "poll": "5 min",
    "sites": {"a": {"targets": {"ta": {"slots": 4, "run": "20 min"}}}, "c": {}},
    "requests": [
        {
            "name": "r",
            "events": 60,
            "events_per_job": 10,
            "merge_files": 3,
            "deliver_to": ["c"],
            "policy": {"jobs_per_allocation": 6, "complete_below": 0.0},
        }
    ],
}
"""Six jobs, two merges, two transfers: everything that can happen to an event happens once or twice."""


def world(base: dict[str, Any] = SMALL, **changes: Any) -> dict[str, Any]:
    """Return a copy of a world with other keys at its top level."""
    return {**copy.deepcopy(base), **changes}


def with_target(**changes: Any) -> dict[str, Any]:
    """Return the small world with a target of other properties."""
    made = world()
    made["sites"]["a"]["targets"]["ta"] |= changes
    return made


TINY: dict[str, Any] = {
    "name": "tiny",
    "duration": "5 d",
    "pace": "2 h",
    "poll": "15 min",
    "sites": {"a": {"targets": {"ta": {"slots": 2, "run": "20 min"}}}, "c": {}},
    "requests": [
        {
            "name": "r",
            "events": 20,
            "events_per_job": 10,
            "merge_files": 2,
            "deliver_to": ["c"],
            "policy": {"jobs_per_allocation": 2, "complete_below": 0.0},
        }
    ],
}
"""Two jobs, one merge, one transfer: as little as a whole life can be."""
