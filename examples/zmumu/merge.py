#!/usr/bin/env python3
"""Put the TTrees `events` of many ROOT files into one file, with as many events as came in.

Reads and writes in pieces, so that memory does not grow with the inputs. An input that is missing, truncated or not
readable to its last event ends the merge with a message that names it; nothing is skipped.
"""

import argparse
import json
import os
import sys

import numpy
import uproot

TREE = "events"
PIECE = 100_000
"""Events held in memory; also the size of a basket in the output."""
BAD_INPUT = 66
"""Exit code for an input that cannot be read, as EX_NOINPUT."""


class BadInput(Exception):
    """An input is missing, truncated or of another kind; the text says which one and why."""


def main() -> None:
    """Merge the inputs, or end with an exit code other than 0."""
    parser = argparse.ArgumentParser(description="Merge ROOT files with a TTree `events` into one.")
    parser.add_argument("--output", required=True, help="the file to write")
    parser.add_argument("inputs", nargs="+", help="the files to merge, in this order")
    options = parser.parse_args()
    try:
        events = merge(options.inputs, options.output)
    except BadInput as fault:
        print(fault, file=sys.stderr)
        sys.exit(BAD_INPUT)
    path = os.environ.get("PRODAGENT_COUNTS")
    if path:
        with open(path, "w") as sink:
            json.dump({"events": events}, sink)
    print(f"{events} events of {len(options.inputs)} files")


def merge(inputs: list[str], output: str) -> int:
    """Write the events of all inputs to `output` and return how many there are."""
    kinds = branches(inputs[0])
    promised = written = 0
    with uproot.recreate(output) as file:
        tree = file.mktree(TREE, kinds)
        held: list[dict] = []
        for path in inputs:
            for piece in pieces(path, kinds):
                held.append(piece)
                if count(held) >= PIECE:
                    written += put(tree, held)
            promised += entries(path)
        written += put(tree, held)
    if written != promised:
        raise BadInput(f"{promised} events in the inputs, but {written} were written to {output}")
    return written


def branches(path: str) -> dict:
    """Return name and kind of each branch of a file that is as long as its own header says."""
    try:
        with uproot.open(path) as file:
            size, promised = os.path.getsize(path), file.file.fEND
            if size < promised:
                raise EOFError(f"its header promises {promised} bytes")
            return {name: branch.interpretation.to_dtype for name, branch in file[TREE].items()}
    except Exception as fault:  # what uproot raises for a damaged file is anything from OSError to struct.error
        raise unreadable(path, fault) from fault


def entries(path: str) -> int:
    with uproot.open(path) as file:
        return int(file[TREE].num_entries)


def pieces(path: str, kinds: dict):
    """Yield the events of a file as arrays by branch, at most PIECE at a time."""
    found = branches(path)
    if found != kinds:
        raise BadInput(f"{path}: branches {found}, expected {kinds} as in the first input")
    read = 0
    try:
        with uproot.open(path) as file:
            for piece in file[TREE].iterate(library="np", step_size=PIECE):
                read += count([piece])
                yield piece
    except Exception as fault:
        raise unreadable(path, fault) from fault
    if read != entries(path):
        raise BadInput(f"{path}: {read} events can be read, {entries(path)} are promised")


def put(tree, held: list[dict]) -> int:
    """Write the pieces held, forget them, and return how many events they had."""
    events = count(held)
    if events:
        tree.extend({name: numpy.concatenate([piece[name] for piece in held]) for name in held[0]})
    held.clear()
    return events


def count(held: list[dict]) -> int:
    return sum(len(next(iter(piece.values()))) for piece in held)


def unreadable(path: str, fault: Exception) -> BadInput:
    try:
        size = f"{os.path.getsize(path)} bytes"
    except OSError:
        size = "not there"
    first = (str(fault).strip().splitlines() or [""])[0]
    return BadInput(f"{path} ({size}) cannot be read as a whole: {type(fault).__name__}: {first}")


if __name__ == "__main__":
    main()
