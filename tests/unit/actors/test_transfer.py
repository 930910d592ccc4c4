"""How many transfers to one destination are under way at once."""

from types import SimpleNamespace
from typing import Any

import pytest

from actors.transfer import SMALL_BYTES, SMALL_IN_ONE_PLACE, fitting
from config.settings import Transfer as Settings

LARGE, SMALL = SMALL_BYTES, SMALL_BYTES - 1


def begun(sizes: list[int], places: int) -> int:
    tasks: list[Any] = [SimpleNamespace(size=size) for size in sizes]
    found = fitting(tasks, places * SMALL_IN_ONE_PLACE)
    assert found == tasks[: len(found)], "a task was overtaken"
    return len(found)


@pytest.mark.feature("PA-317")
def test_five_at_once_to_each_destination_and_three_tries_unless_told_otherwise() -> None:
    settings = Settings()
    assert (settings.max_active, settings.max_tries) == (5, 3)


@pytest.mark.feature("TX-10")
@pytest.mark.parametrize(
    ("sizes", "places", "expected"),
    [
        ([LARGE] * 10, 4, 4),
        ([SMALL] * 200, 4, 100),
        ([SMALL] + [LARGE] * 9, 4, 4),
        ([LARGE] * 3 + [SMALL] * 30, 4, 28),
        ([SMALL] * 76 + [LARGE] + [SMALL] * 9, 4, 76),
        ([LARGE], 0, 0),
        ([], 4, 0),
    ],
)
def test_small_files_share_a_place_and_none_overtakes(sizes: list[int], places: int, expected: int) -> None:
    assert begun(sizes, places) == expected
