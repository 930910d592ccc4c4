"""A directory that takes too much is emptied, but for what says what the job was and how it ended."""

from pathlib import Path

import pytest

from runtime.trimming import KEPT, trim

pytestmark = pytest.mark.feature("PA-414")
MEGABYTE = 1_000_000


def filled(place: Path) -> Path:
    """Make what a job leaves at a site: a large log, a file deep below, the marks of the spool."""
    deep = place / "work" / "deep"
    deep.mkdir(parents=True)
    (deep / "events.root").write_bytes(b"x" * MEGABYTE)
    (place / "payload.log").write_bytes(b"y" * MEGABYTE)
    for name in ("spec.json", "report.json"):
        (place / name).write_text("{}")
    (place / "run").symlink_to("somebody")
    (place / "parcel").symlink_to("p/0")
    return place


def test_only_beyond_the_limit_and_only_once(tmp_path: Path) -> None:
    place = filled(tmp_path / "job")
    assert trim(str(place), 3 * MEGABYTE) == 0
    assert (place / "payload.log").exists()
    assert trim(str(place), MEGABYTE) >= 2 * MEGABYTE
    assert sorted(path.name for path in place.iterdir()) == ["parcel", "report.json", "run", "spec.json"]
    assert {path.name for path in place.iterdir()} <= set(KEPT)
    assert trim(str(place), MEGABYTE) == 0
    assert trim(str(tmp_path / "gone"), MEGABYTE) == 0


def test_what_a_link_points_to_is_left_alone(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"z" * MEGABYTE)
    place = filled(tmp_path / "job")
    (place / "work" / "link").symlink_to(outside)
    (place / "work" / "all").symlink_to(tmp_path)
    assert trim(str(place), MEGABYTE) > 0
    assert outside.stat().st_size == MEGABYTE
