"""What a destination says of a file is compared with what the file was at its birth."""

import os
from pathlib import Path

import pytest

from backends.storage_element.base import Birth, Checksums, StorageError
from backends.storage_element.sums import compare, read_through

pytestmark = pytest.mark.feature("TX-09")

SHA256 = "00ab" + "5" * 60
BIRTH = Birth(12, Checksums("00c0ffee", SHA256))


@pytest.mark.parametrize("found", ["00c0ffee", "c0ffee", "C0FFEE", "0c0ffee", SHA256, SHA256.upper()])
def test_equal_sums_are_equal_however_they_are_written(found: str) -> None:
    compare("x", BIRTH, 12, found)


@pytest.mark.parametrize(
    ("size", "found"),
    [
        (12, "00c0ffef"),
        (12, SHA256[:-1] + "6"),
        (12, SHA256[2:]),
        (12, ""),
        (12, "none"),
        (11, "00c0ffee"),
        (None, "00c0ffee"),
        (13, SHA256),
    ],
)
def test_whatever_differs_is_refused_with_both_sides_named(size: int | None, found: str) -> None:
    with pytest.raises(StorageError, match=f"x reads back as {size} bytes with .*, expected 12 with ") as caught:
        compare("x", BIRTH, size, found)
    assert caught.value.kind == "integrity"


def test_a_file_is_summed_up_to_its_birth(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    known = Checksums("024d0127", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    assert read_through(path).birth == Birth(3, known)
    descriptor = os.open(path, os.O_RDONLY)
    assert read_through(descriptor).birth == Birth(3, known)
    os.close(descriptor)
