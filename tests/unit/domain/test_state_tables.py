"""Every pair of every state table: the legal ones move, all others raise."""

from collections import Counter
from pathlib import Path

import pytest

from domain.diagram import TABLES, mermaid, page
from domain.events import STILL, Event, JobsCreated, JobsEnded, all_events
from domain.job import JOB_TABLE, ORIGINAL_NAMES, TYPE_RANK, J, JobState, JobType, rank
from domain.transfer import OWNER, TransferState
from domain.transition import IllegalMove, Move, StateTable

EVENTS = list(all_events().values())
PAIRS = [(table, state, event) for table in TABLES for state in table.states for event in EVENTS]


@pytest.mark.feature("PA-017", "PA-019")
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.entity)
def test_every_pair(table):
    for state in table.states:
        for event in EVENTS:
            move = table.moves.get(event)
            if move is not None and state in move.sources:
                assert table.after(state, event) is move.target
            else:
                with pytest.raises(IllegalMove, match=event.__name__):
                    table.after(state, event)


@pytest.mark.feature("PA-017")
def test_the_number_of_pairs_is_the_whole_square():
    legal = sum(1 for table, state, event in PAIRS if event in table.moves and state in table.moves[event].sources)
    assert legal == sum(len(list(table.pairs())) for table in TABLES)
    assert len(PAIRS) == sum(len(table.states) for table in TABLES) * len(EVENTS)


@pytest.mark.feature("PA-017")
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.entity)
def test_every_state_can_be_reached_and_only_final_ones_are_ends(table):
    reached = {move.target for move in table.moves.values() if not move.sources}
    while more := {after for state, _, after in table.pairs() if state in reached} - reached:
        reached |= more
    assert reached == set(table.states)
    left = {state for state, _, _ in table.pairs()}
    quiet = {JobState.CLEANED, JobState.KILLED, "catalogued"}
    assert set(table.states) - left - table.final <= quiet
    assert set(table.live) == set(table.states) - table.final


@pytest.mark.feature("PA-017")
def test_each_fact_moves_one_kind_of_item():
    kinds = Counter(event for table in TABLES for event in table.moves)
    assert set(kinds.values()) == {1}
    assert set(kinds) == set(EVENTS) - STILL


def test_final_states_are_final():
    with pytest.raises(ValueError, match="JobsEnded leaves the final state running"):
        StateTable("job", JobState, frozenset({J.RUNNING}), {JobsEnded: Move((J.RUNNING,), J.ENDED)})


def test_a_fact_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="JobsCreated moves 'job', not 'file'"):
        StateTable("file", JobState, frozenset(), {JobsCreated: Move((), J.NEW)})
    with pytest.raises(IllegalMove, match="job: no state hears Event"):
        JOB_TABLE.move(Event)


@pytest.mark.feature("PA-019", "PA-201", "TX-04")
def test_every_state_has_its_name_its_rank_its_owner():
    assert set(ORIGINAL_NAMES) == set(JobState)
    assert set(OWNER) == set(TransferState)
    assert set(TYPE_RANK) == set(JobType)
    assert rank(JobType.MERGE, 0) > rank(JobType.PROCESSING, 9999)
    assert rank(JobType.PROCESSING, 5) > rank(JobType.PROCESSING, 4)


@pytest.mark.feature("PA-017")
def test_the_page_in_the_docs_is_drawn_from_the_tables():
    shown = Path(__file__).parents[3] / "docs" / "reference" / "state-tables.md"
    text = shown.read_text()
    assert text == page(), "run: python -m domain.diagram > docs/reference/state-tables.md"
    for table in TABLES:
        assert all(f"`{event.__name__}`" in text for event in table.moves)


def test_arrows_with_the_same_ends_are_one():
    job = next(table for table in TABLES if table.entity == "job")
    lines = list(mermaid(job))
    assert "    [*] --> new: JobsCreated" in lines
    assert len({line.partition(":")[0] for line in lines}) == len(lines)
