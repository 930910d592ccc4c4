"""The command line of the runtime: run one job by hand, or be a node's daemon."""

import json
import os
import socket
import sys
from typing import Dict, List

from runtime import codes, report
from runtime.daemon import launch, serve
from runtime.job import Job

USAGE = """usage: runtime.pyz run JOBDIR                    run JOBDIR/spec.json, write JOBDIR/report.json
       runtime.pyz node --dir D --slots N [--idle SECONDS] [--foreground]"""


def main(arguments: List[str]) -> int:
    """Run a command and return the exit status."""
    if len(arguments) == 2 and arguments[0] == "run":
        return run(os.path.abspath(arguments[1]))
    if arguments and arguments[0] == "node":
        foreground = "--foreground" in arguments
        words = [word for word in arguments[1:] if word != "--foreground"]
        options: Dict[str, str] = dict(zip(words[::2], words[1::2]))
        if len(words) % 2 == 0 and "--dir" in options and set(options) <= {"--dir", "--slots", "--idle"}:
            start = serve if foreground else launch
            return start(options["--dir"], int(options.get("--slots", "1")), float(options.get("--idle", "60")))
    sys.stderr.write(USAGE + "\n")
    return 2


def run(directory: str) -> int:
    """Run the job of a directory; its scratch directory is left for looking at."""
    try:
        with open(os.path.join(directory, "spec.json")) as source:
            what = json.load(source)
    except (OSError, ValueError) as fault:
        what = "unreadable: {}".format(fault)
    if not os.path.isdir(directory):
        sys.stderr.write("{} is not a directory\n".format(directory))
        return 2
    done = Job(
        what,
        token=os.path.basename(directory),
        scratch=os.path.join(directory, "work"),
        log=os.path.join(directory, "payload.log"),
        sandboxes=os.path.join(directory, "sandboxes"),
        node=socket.gethostname(),
    ).run()
    raw = report.encode(done)
    try:
        report.write(os.path.join(directory, "report.json"), raw)
    except OSError as fault:
        sys.stderr.write("no report can be written: {}\n{}\n".format(fault, raw.decode()))
        return codes.exit_status(done["exit_code"]) or 1
    for error in done["errors"]:
        sys.stderr.write("{code} {step}: {text}\n".format(**error))
    return codes.exit_status(done["exit_code"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
