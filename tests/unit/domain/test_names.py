"""Names are legal, equal for equal meaning, and fan out."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.names import FAN_OUT, block_name, lfn, unit_id
from domain.spec import Dataset, Output, Step, WorkflowSpec

LEGAL = re.compile(r"^/store(/unmerged)?(/[A-Za-z0-9][A-Za-z0-9_.\-]*){7}$")
WORDS = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.\-]{0,20}\Z")


def spec_of(**changes: object) -> WorkflowSpec:
    return WorkflowSpec(**({"name": "zmumu", "events": 10, "steps": [Step(command=["x"])]} | changes))


@pytest.mark.feature("DBS-02")
def test_the_scheme():
    spec = spec_of(dataset=Dataset(primary="Z", processed="v2", tier="GEN-SIM"), output=Output(file="out.root"))
    name = lfn(spec, merged=True, counter=12_345, name="0000012345-abc")
    assert name == "/store/mc/Run1/Z/GEN-SIM/v2/000012/0000012345-abc.root"
    assert lfn(spec, merged=False, counter=1, name="n") == "/store/unmerged/mc/Run1/Z/GEN-SIM/v2/000000/n.root"
    assert spec.dataset_name == "/Z/v2/GEN-SIM"
    assert spec_of().dataset_name == "/zmumu/v1/GEN"
    assert block_name("/Z/v2/GEN", "A", 7) == "/Z/v2/GEN#A-000007"


@pytest.mark.feature("DBS-02")
@given(WORDS, WORDS, WORDS, st.integers(0, 10**9), st.booleans())
def test_names_are_legal(primary, processed, file, counter, merged):
    spec = spec_of(dataset=Dataset(primary=primary, processed=processed), output=Output(file=file))
    name = lfn(spec, merged=merged, counter=counter, name=f"{counter:010d}-0123456789ab")
    assert LEGAL.match(name), name
    assert len(name) <= 500
    assert name.startswith("/store/unmerged/") == (not merged)


@pytest.mark.feature("DBS-02")
def test_no_directory_holds_more_than_its_share():
    spec = spec_of()
    folders = Counter(lfn(spec, merged=True, counter=n, name=str(n)).rpartition("/")[0] for n in range(5 * FAN_OUT))
    assert set(folders.values()) == {FAN_OUT}


@pytest.mark.feature("PA-106")
@given(st.lists(st.integers() | st.text(), max_size=5), st.lists(st.integers() | st.text(), max_size=5))
def test_equal_meaning_equal_id(left, right):
    assert (unit_id(*left) == unit_id(*right)) == (left == right)
    assert len(unit_id(*left)) == 32
