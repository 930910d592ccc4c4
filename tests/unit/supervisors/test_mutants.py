"""A few mutants of the actor core, each with the tests that must notice; all of them: `python -m tests.unit.supervisors.mutants`."""

import pytest

from tests.unit.supervisors.mutants import MUTANTS, stale, survives

FAST = {
    "a crash loses its message": "test_budgets.py::test_a_message_that_keeps_killing_becomes_a_dead_letter",
    "an unfit implementation takes over": "test_replace.py",
    "a phase that hangs holds up the stop": "test_drain.py",
}


def test_every_mutant_still_has_its_place():
    assert stale() == []


@pytest.mark.parametrize("meaning", FAST)
def test_a_mutant_is_caught(meaning):
    (mutant,) = [each for each in MUTANTS if each[3] == meaning]
    assert not survives(mutant, [FAST[meaning]])
