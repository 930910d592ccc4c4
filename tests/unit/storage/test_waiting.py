"""What waits for the writer: parts of joint units gather while their kind rests, and nothing else waits for them."""

from types import SimpleNamespace

import pytest

from storage.waiting import REST, REST_S, Waiting
from storage.writer import ALONE

pytestmark = pytest.mark.feature("PA-009")


def one(_tx, parts):
    return parts


def other(_tx, parts):
    return parts


def plain(_tx):
    return None


class Part(SimpleNamespace):
    """A pending unit without a future."""

    def __init__(self, unit, part=ALONE) -> None:
        joint = part is not ALONE
        super().__init__(unit=unit, part=part, joint=joint, patient=joint, gone=False)
        self.outcome = SimpleNamespace(cancelled=lambda: self.gone)

    __hash__ = object.__hash__


def test_parts_wait_while_their_kind_rests_and_go_together():
    waiting = Waiting(10)
    waiting.add(first := Part(one, 1))
    assert waiting.take(100.0) == [first]
    waiting.done([first], 100.0, 100.1)
    second, whole, third, elsewhere = Part(one, 2), Part(plain), Part(one, 3), Part(other, 4)
    for pending in (second, whole, third, elsewhere):
        waiting.add(pending)
    assert waiting.take(100.1) == [whole, elsewhere]
    assert waiting.pause(100.1) == pytest.approx(REST * 0.1)
    assert waiting.take(100.1 + REST * 0.1) == [second, third]
    assert not waiting
    assert waiting.pause(101.0) is None


def test_who_is_not_patient_goes_at_once_and_lets_nobody_rest():
    waiting = Waiting(10)
    waiting.done([Part(one, 1)], 100.0, 100.1)
    patient, hasty = Part(one, 2), Part(one, 3)
    hasty.patient = False
    waiting.add(patient)
    waiting.add(hasty)
    assert waiting.take(100.1) == [hasty]
    waiting.done([hasty], 100.1, 100.2)
    assert waiting.take(100.1 + REST * 0.1) == [patient]


def test_nobody_rests_for_longer_than_half_a_second_or_when_the_store_closes():
    waiting = Waiting(10)
    waiting.done([Part(one, 1)], 100.0, 160.0)
    waiting.add(late := Part(one, 2))
    assert waiting.pause(160.0) == pytest.approx(REST_S)
    assert waiting.take(160.0) == []
    assert waiting.take(160.0, closing=True) == [late]


def test_a_group_has_its_most_units_and_all_parts_of_those_in_it():
    waiting = Waiting(2)
    joint, whole, late, more = Part(one, 1), Part(plain), Part(plain), Part(one, 2)
    for pending in (joint, whole, late, more):
        waiting.add(pending)
    assert waiting.take(100.0) == [joint, whole, more]
    assert waiting.take(100.0) == [late]


def test_whoever_has_gone_is_forgotten():
    waiting = Waiting(10)
    waiting.add(gone := Part(one, 1))
    waiting.add(left := Part(one, 2))
    gone.gone = True
    assert waiting.take(100.0) == [left]
    waiting.add(left)
    assert waiting.clear() == [left]
    assert not waiting
