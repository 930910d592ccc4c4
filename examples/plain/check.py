#!/usr/bin/env python3
"""Read the delivered files and prove that every event number from 1 to N is there exactly once."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path


def main() -> None:
    """Print the verdict; exit code 1 unless every event is there once."""
    parser = argparse.ArgumentParser(description="Is every event number from --first on there exactly once?")
    parser.add_argument("--events", type=int, required=True, help="how many there should be")
    parser.add_argument("--first", type=int, default=1, help="number of the first event")
    parser.add_argument("paths", nargs="+", type=Path, help="files, or directories with files *.txt below them")
    options = parser.parse_args()
    files = sorted(text_files(options.paths))
    times = Counter(number for file in files for number in event_numbers(file))
    asked = range(options.first, options.first + options.events)
    once = sum(times[number] == 1 for number in asked)
    doubled = sum(times[number] > 1 for number in asked)
    foreign = sum(number not in asked for number in times)
    print(f"{once:,} of {options.events:,} events are there exactly once; files: {len(files)}")
    if doubled or foreign:
        print(f"{doubled:,} are there more than once, {foreign:,} were not asked for", file=sys.stderr)
    sys.exit(once != options.events or bool(foreign))


def text_files(paths: list[Path]) -> Iterator[Path]:
    """Yield the files that were named and those below the directories that were named."""
    for path in paths:
        yield from (path.rglob("*.txt") if path.is_dir() else (path,))


def event_numbers(path: Path) -> Iterator[int]:
    """Yield the number in each line; a line of another kind ends the check."""
    with path.open() as lines:
        for line in lines:
            words = line.split()
            if len(words) != 6 or words[0] != "event" or not words[1].isdigit():
                sys.exit(f"{path}: the line {line[:80]!r}, expected `event NUMBER seed SEED value VALUE`")
            yield int(words[1])


if __name__ == "__main__":
    main()
