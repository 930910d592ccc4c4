"""Where jobs may run by the lists of their workflow, its steps and its merges, and on what nodes."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.job import JobType
from domain.matching import Candidate, Place, may_run, nowhere, room_for, wait_reason
from domain.revising import Revision, asks_anew, differences, revised
from domain.siting import demand, named
from domain.spec import WorkflowSpec

P, M = JobType.PROCESSING, JobType.MERGE
NAMES = st.lists(st.sampled_from("ABCD"), max_size=4)


def spec(steps: list[dict[str, Any]] | None = None, **more: Any) -> WorkflowSpec:
    programs = [{"name": f"s{n}", "command": ["true"], **step} for n, step in enumerate(steps or [{}])]
    return msgspec.convert({"name": "w", "events": 1, "steps": programs, **more}, WorkflowSpec)


def candidate(one: WorkflowSpec, kind: JobType = P, pinned: str | None = None) -> Candidate:
    asked = demand(one, kind)
    return Candidate(
        1, kind, asked.allowed, pinned, denied=asked.denied, gpus=asked.gpus, architecture=asked.architecture
    )


def place(site: str, **more: Any) -> Place:
    return Place(f"{site}-batch", site, {P: 1, M: 1}, **more)


@pytest.mark.feature("PA-205")
@given(NAMES, NAMES, st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=3), NAMES, NAMES, st.none() | st.just("B"))
def test_a_job_goes_where_all_its_steps_may_and_a_merge_where_merges_may(sites, deny, steps, merge, no_merge, pinned):
    lists = [set(each) for each in (sites, *(allow for allow, _ in steps)) if each]
    tables = [{"sites": allow, "deny_sites": never} for allow, never in steps]
    table = {"sites": sites, "deny_sites": deny, "merge": {"sites": merge, "deny_sites": no_merge}}
    if lists and not set.intersection(*lists):
        with pytest.raises(msgspec.ValidationError, match="no site stands in the lists of the workflow and of all its"):
            spec(tables, **table)
        return
    for kind, allowed, denied in (
        (P, lists, [deny, *(never for _, never in steps)]),
        (M, [set(merge)] if merge else [], [no_merge]),
    ):
        job = candidate(spec(tables, **table), kind, pinned)
        for site in "ABCD":
            may = all(site in each for each in allowed) and not any(site in each for each in denied)
            assert may_run(job, place(site)) == (may and pinned in (None, site))
            assert room_for(job, [place(site)]) == int(may and pinned in (None, site))


@pytest.mark.feature("PA-205", "PA-218")
@pytest.mark.parametrize(
    ("table", "kind", "pinned", "reason"),
    [
        ({"sites": ["C"]}, P, None, "none of C has a batch target"),
        ({"deny_sites": ["B", "A"]}, P, None, "no site with a batch target is left: allowed any, denied A, B"),
        ({"sites": ["A"], "deny_sites": ["A"]}, P, None,
         "no site with a batch target is left: allowed A, denied A"),
        ({"merge": {"sites": ["A"]}}, M, "B",
         "its input lies at B; no site with a batch target is left: allowed A, denied none"),
        ({"merge": {"deny_sites": ["B"]}}, M, "B",
         "its input lies at B; no site with a batch target is left: allowed any, denied B"),
        ({"sites": ["A"], "deny_sites": ["B"]}, M, "B", ""),
        ({"deny_sites": ["A"]}, P, None, ""),
    ],
)  # fmt: skip
def test_lists_that_leave_no_site_are_named(table, kind, pinned, reason):
    job, places = candidate(spec(**table), kind, pinned), [place("A"), place("B")]
    assert nowhere(job, places) == reason
    assert wait_reason(job, places).startswith(f"no-site: {reason}" if reason else "next-sweep")


@pytest.mark.feature("PA-310", "PA-218")
def test_a_job_waits_for_nodes_of_its_kind_and_its_merges_do_not():
    plain, fast = place("A", architectures=frozenset({"x86_64"})), place("B", gpus=2)
    both = place("C", gpus=1, architectures=frozenset({"x86_64", "aarch64"}))
    wants = spec(resources={"gpus": 2, "architecture": "aarch64"})
    assert wait_reason(candidate(wants), [plain, fast, both]) == (
        "no-site: none of A-batch, B-batch, C-batch has 2 GPUs for a job and nodes of aarch64"
    )
    assert not any(room_for(candidate(wants), [one]) for one in (plain, fast, both))
    assert nowhere(candidate(wants, M), [plain]) == ""
    for needs, there in (
        ({"gpus": 1}, [0, 1, 1]),
        ({"gpus": 2}, [0, 1, 0]),
        ({"architecture": "x86_64"}, [1, 0, 1]),
        ({"architecture": "aarch64", "gpus": 1}, [0, 0, 1]),
        ({}, [1, 1, 1]),
    ):
        assert [room_for(candidate(spec(resources=needs)), [one]) for one in (plain, fast, both)] == there
    full = both._replace(free={P: 0})
    assert wait_reason(candidate(spec(resources={"gpus": 1})), [plain, full]).startswith("no-slot: C-batch full")
    program = spec(resources={"gpus": 1, "architecture": "aarch64"}, merge={"command": ["hadd"]})
    assert (demand(program, M).gpus, demand(program, M).architecture) == (0, "aarch64")


@pytest.mark.feature("PA-205", "PA-216", "PA-310")
def test_a_new_version_changes_lists_and_nodes_and_says_so():
    before = spec(resources={"architecture": "aarch64"}, merge={"max_files": 7})
    after = revised(
        before,
        Revision(deny_sites=["A"], merge_sites=["B"], merge_deny_sites=["C"], gpus=1, architecture=""),
    )
    assert (after.deny_sites, after.merge.sites, after.merge.deny_sites, after.merge.max_files) == (
        ["A"],
        ["B"],
        ["C"],
        7,
    )
    assert (after.resources.gpus, after.resources.architecture) == (1, None)
    assert differences(before, after) == [
        "deny_sites: none -> A", "merge_sites: any -> B", "merge_deny_sites: none -> C", "gpus: 0 -> 1",
        "architecture: aarch64 -> any",
    ]  # fmt: skip
    assert asks_anew(before, after)
    assert not asks_anew(before, revised(before, Revision(deny_sites=["A"])))
    assert [*named(after)] == [("deny_sites", "A"), ("merge.sites", "B"), ("merge.deny_sites", "C")]
    assert [*named(spec([{"deny_sites": ["D"]}]))] == [("steps.s0.deny_sites", "D")]
