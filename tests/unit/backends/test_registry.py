"""Backends are found by name, and by place."""

from importlib.metadata import EntryPoint

import pytest

from backends import registry
from backends.batch.local import LocalBatch
from backends.registry import BUILT_IN, load


@pytest.mark.parametrize(("family", "kind"), [(family, kind) for family, kinds in BUILT_IN.items() for kind in kinds])
def test_every_built_in_kind_can_be_loaded(family: str, kind: str) -> None:
    assert isinstance(load(kind, family), type)


def test_a_class_is_found_by_its_place() -> None:
    assert load("backends.batch.local:LocalBatch", "batch") is LocalBatch


def test_a_third_party_registers_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="grid", value="backends.batch.local:LocalBatch", group="prodagent.batch")
    monkeypatch.setattr(registry.importlib.metadata, "entry_points", lambda group: [point])
    assert load("grid", "batch") is LocalBatch


@pytest.mark.parametrize(
    ("kind", "family", "text"),
    [
        ("lokal", "batch", "no batch of kind 'lokal'; did you mean local"),
        ("zzz", "batch", "expected one of htcondor, local, "),
        ("local", "bach", "family is 'bach', expected one of batch"),
        ("no.such:Thing", "batch", "no.such:Thing cannot be loaded"),
        ("backends.batch.local:Nothing", "batch", "cannot be loaded"),
        ("backends.registry:load", "batch", "is a function, expected a class"),
    ],
)
def test_an_unknown_kind_is_said_with_what_was_expected(kind: str, family: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        load(kind, family)
