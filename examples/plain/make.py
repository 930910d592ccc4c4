#!/usr/bin/env python3
"""Write one line per event: `event NUMBER seed SEED value VALUE`. Any program could stand here.

The same seed and first event give the same file, byte for byte. The options after --output make a job slow, or make it
fail on purpose, for tests.
"""

import argparse
import os
import sys
import time


def main() -> None:
    """Write the events, or end with an exit code other than 0."""
    options = parsed()
    if options.fail_percent and draw(options.seed, attempt_number()) % 100 < options.fail_percent:
        sys.exit("this attempt fails on purpose (--fail-percent)")
    fail_once_if_asked()
    time.sleep(options.sleep)
    with open(options.output, "w") as sink:
        for event in range(options.first, options.first + options.events):
            sink.write(f"event {event} seed {options.seed} value {draw(options.seed, event):010d}\n")
            if options.sleep_per_event:
                time.sleep(options.sleep_per_event)
    print(f"{options.events} events from {options.first} with seed {options.seed}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write one line per event.")
    parser.add_argument("--events", type=int, required=True, help="how many events")
    parser.add_argument("--first", type=int, required=True, help="number of the first event")
    parser.add_argument("--seed", type=int, required=True, help="of the random numbers")
    parser.add_argument("--output", required=True, help="the file to write")
    parser.add_argument("--sleep", type=float, default=0.0, metavar="S", help="wait this many seconds first")
    parser.add_argument("--sleep-per-event", type=float, default=0.0, metavar="S", help="and this many after each")
    parser.add_argument("--fail-percent", type=int, default=0, metavar="P", help="this share of the attempts fails")
    return parser.parse_args()


def draw(seed: int, event: int) -> int:
    """Return a number that looks random and is the same each time (the mixing steps of splitmix64)."""
    mask = 2**64 - 1
    state = (seed * 0x9E3779B97F4A7C15 + event * 0xBF58476D1CE4E5B9) & mask
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
    return (state ^ (state >> 31)) % 10**10


def attempt_number() -> int:
    """Something that differs from attempt to attempt: a job that failed on purpose may succeed the next time."""
    return time.time_ns() ^ os.getpid()


def fail_once_if_asked() -> None:
    """End with code 65 if the demonstration asked for one bad job: whoever takes the file away is the one."""
    asked = os.path.join(os.environ.get("PRODAGENT_DEMO_FAULTS") or os.devnull, "exit-once")
    try:
        os.rename(asked, f"{asked}.taken")
    except OSError:
        return
    print("the demonstration asked for one job that ends badly: it is this one", file=sys.stderr)
    sys.exit(65)


if __name__ == "__main__":
    main()
