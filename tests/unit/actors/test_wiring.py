"""Who takes which fact: an agent whose facts nobody takes does not start; the page is what the classes say."""

from functools import partial
from pathlib import Path

import pytest

from actors.stage import Stage
from actors.wiring import Unwired, all_stages, check, kind_of, page
from domain.events import JobsCreated, JobsFailed, JobsQueued
from supervisors import ChildSpec, SupervisorSpec

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "wiring.md"


class Maker(Stage):
    emits = (JobsCreated, JobsQueued)


class Taker(Stage):
    follows = (JobsCreated,)


class Hearer(Stage):
    woken_by = (JobsCreated,)


def tree(*kinds: type[Stage]) -> SupervisorSpec:
    children = [ChildSpec(kind.__name__.lower(), partial(kind, None)) for kind in kinds]
    return SupervisorSpec("root", (SupervisorSpec("group", tuple(children)),))


@pytest.mark.feature("PA-006")
def test_a_fact_that_nobody_takes_keeps_the_agent_from_starting() -> None:
    with pytest.raises(
        Unwired, match=r"^JobsCreated: written by maker, taken by no actor of the tree; expected one that"
    ):
        check(tree(Maker))
    check(tree(Maker, Taker))
    check(tree(Maker, Hearer))  # JobsQueued is optional: it needs nobody


@pytest.mark.feature("PA-006")
def test_all_are_named_at_once() -> None:
    class Other(Stage):
        emits = (JobsFailed, JobsCreated)

    with pytest.raises(Unwired) as refused:
        check(tree(Maker, Other))
    assert [line.split(",")[0] for line in str(refused.value).splitlines()] == [
        "JobsCreated: written by maker", "JobsFailed: written by other",
    ]  # fmt: skip


def test_a_factory_that_hides_its_class_is_passed_over() -> None:
    assert kind_of(ChildSpec("x", lambda: Maker(None))) is None  # type: ignore[arg-type]
    assert kind_of(ChildSpec("x", Maker)) is Maker  # type: ignore[arg-type]


@pytest.mark.feature("PA-006")
def test_the_page_is_what_the_classes_say() -> None:
    assert PAGE.read_text() == page(all_stages()), "python -m actors.wiring > docs/reference/wiring.md"
