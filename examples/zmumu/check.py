#!/usr/bin/env python3
"""Read the delivered files and prove that every event number from 1 to N is there exactly once."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy
import uproot

TREE = "events"


def main() -> None:
    """Print the verdict; exit code 1 unless every event is there once."""
    parser = argparse.ArgumentParser(description="Is every event number from --first on there exactly once?")
    parser.add_argument("--events", type=int, required=True, help="how many there should be")
    parser.add_argument("--first", type=int, default=1, help="number of the first event")
    parser.add_argument("paths", nargs="+", type=Path, help="files, or directories with files *.root below them")
    options = parser.parse_args()
    files = sorted(root_files(options.paths))
    numbers = numpy.concatenate([event_numbers(file) for file in files] or [numpy.empty(0, dtype="int64")])
    faults = judge(numbers, options.first, options.events)
    once = options.events - faults["missing"] - faults["more than once"]
    print(f"{once:,} of {options.events:,} events are there exactly once; files: {len(files)}")
    for what, number in faults.items():
        if number:
            print(f"{number:,} event numbers are {what}", file=sys.stderr)
    sys.exit(any(faults.values()))


def root_files(paths: list[Path]) -> Iterator[Path]:
    """Yield the files that were named and those below the directories that were named."""
    for path in paths:
        yield from (path.rglob("*.root") if path.is_dir() else (path,))


def event_numbers(path: Path) -> numpy.ndarray:
    with uproot.open(path) as file:
        return file[TREE]["event"].array(library="np")


def judge(numbers: numpy.ndarray, first: int, events: int) -> dict[str, int]:
    """Return how many event numbers are missing, there more than once, or not asked for."""
    asked = (numbers >= first) & (numbers < first + events)
    times = numpy.bincount(numbers[asked] - first, minlength=events)
    return {
        "missing": int((times == 0).sum()),
        "more than once": int((times > 1).sum()),
        "not asked for": len(numpy.unique(numbers[~asked])),
    }


if __name__ == "__main__":
    main()
