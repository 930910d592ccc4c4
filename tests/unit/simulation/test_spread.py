"""How workflows spread over sites, over simulated days."""

from typing import Any

import pytest

from tests.unit.simulation.conftest import Live
from tests.unit.simulation.worlds import world

SITES = ("a", "b", "d")


def place(sites: dict[str, Any] | None = None, **order: Any) -> dict[str, Any]:
    """Return a world of three equal sites and one request that they could share."""
    made = world(poll="10 min", duration="10 d")
    made["sites"] = {name: {"targets": {f"t{name}": {"slots": 4, "run": "1 h"}}} for name in SITES} | {"c": {}}
    for name, more in (sites or {}).items():
        made["sites"][name] |= more
    made["requests"][0] |= {"events": 120, "policy": {"jobs_per_allocation": 12, "complete_below": 0.0}, **order}
    return made


def used(outcome: Any) -> list[str]:
    return sorted(one.target for one in outcome.measures.targets if one.attempts)


@pytest.mark.feature("PA-210")
@pytest.mark.parametrize("most", [1, 2])
def test_a_workflow_stays_at_as_many_sites_as_it_may(live: Live, most: int) -> None:
    outcome = live(place(max_sites=most))
    assert outcome.done
    assert outcome.measures.merged == 120
    assert len(used(outcome)) == most


@pytest.mark.feature("PA-210", "REL-07")
def test_the_spread_holds_over_kills(live: Live) -> None:
    made = place(max_sites=1)
    made["happens"] = [{"what": "agent-kills", "every": "4 h"}]
    outcome = live(made)
    assert outcome.done
    assert len(used(outcome)) == 1


@pytest.mark.feature("PA-210")
def test_a_site_that_is_meant_for_others_is_used_by_fillers_only_where_it_may(live: Live) -> None:
    shut = live(place({"a": {"groups": ["higgs"]}}))
    open_ = live(place({"a": {"groups": ["higgs"], "fillers": True}}))
    mine = live(place({"a": {"groups": ["higgs"]}}, group="higgs"))
    assert used(shut) == ["tb", "td"]
    assert used(open_) == used(mine) == ["ta", "tb", "td"]
    assert shut.measures.merged == open_.measures.merged == mine.measures.merged == 120
