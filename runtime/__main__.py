"""The command line of the runtime: run one job by hand, or be a node's daemon or a pilot."""

import json
import os
import shutil
import socket
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from typing import Any, Dict, List

from runtime import codes, process, report
from runtime.daemon import launch, serve
from runtime.desk import answer as desk_answer
from runtime.job import Job
from runtime.pilot import Pilot
from runtime.shared import Shared

RUN = """\
Runs JOBDIR/spec.json as a batch job does and leaves in JOBDIR:
  report.json     what happened (docs/reference/job-report.md); there from the first moment, with code 50117 until the end
  payload.log     standard output and standard error of all steps
  heartbeat.json  progress, from half a second on
  work/           the working directory of the steps, left for looking at

To debug a job:
  python3 %(prog)s --again --stage-out here JOBDIR
runs it once more from an empty work/, and "publishes" below ./here instead of at the site. The exit status is 0, or the
code of the report (1 for one above 255)."""


def main(arguments: List[str]) -> int:
    """Run a command and return the exit status."""
    if len(arguments) == 2 and arguments[0] == "clerk":  # before anything is imported: it is called often
        from runtime.clerk import serve as answer

        return answer(arguments[1])
    parser = ArgumentParser(prog="runtime.pyz", description="The worker runtime: runs jobs on a node.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    one = commands.add_parser(
        "run",
        help="run one job",
        description=RUN,
        formatter_class=RawDescriptionHelpFormatter,
        usage="%(prog)s [OPTIONS] JOBDIR",
    )
    one.add_argument("directory", metavar="JOBDIR")
    one.add_argument("--again", action="store_true", help="remove what an earlier run left")
    one.add_argument("--stage-out", metavar="DIR", help="bring outputs below DIR, whatever the specification says")
    node = commands.add_parser("node", help="be the daemon that runs an agent's local jobs")
    node.add_argument("--dir", required=True, help="the spool directory that it shares with the agent")
    node.add_argument("--slots", type=int, default=1, help="cores that jobs may use at once")
    node.add_argument("--idle", type=float, default=60.0, help="seconds without work after which it ends")
    node.add_argument("--foreground", action="store_true", help="stay in this process")
    desk = commands.add_parser("clerk", help="answer an agent's request on a login node")
    desk.add_argument("dir", help="the directory of the target at the site")
    place = commands.add_parser("slot", help="run one attempt in a slot of a batch system")
    place.add_argument("dir", help="the directory of the target at the site")
    place.add_argument("parcel", help="the call to the batch system that handed it over")
    place.add_argument("index", type=int, help="its place in that call")
    place.add_argument("id", help="the batch system's id of it")
    pilot = commands.add_parser("pilot", help="be a pilot: take jobs from a shared directory until there are none")
    pilot.add_argument("--dir", required=True, help="the directory that pilots and agent share")
    pilot.add_argument("--name", required=True, help="its name, unlike that of any other pilot before it")
    pilot.add_argument("--slots", type=int, default=1, help="cores that jobs may use at once")
    pilot.add_argument("--memory", type=int, default=0, help="MB that jobs may use together; 0: not counted")
    pilot.add_argument("--idle", type=float, default=60.0, help="seconds without a job after which it ends")
    pilot.add_argument("--wall", type=float, default=0.0, help="seconds that the batch slot lasts; 0: no limit")
    desk = commands.add_parser(
        "desk", help="answer one question of an agent (JSON on standard input) about that directory"
    )
    desk.add_argument("--dir", required=True)
    desk.add_argument("--writer", required=True, help="whose journal is written")
    chosen = parser.parse_args(arguments)
    if chosen.command == "run":
        return run(chosen)
    if chosen.command == "node":
        return (serve if chosen.foreground else launch)(chosen.dir, chosen.slots, chosen.idle)
    if chosen.command == "slot":
        from runtime import slot

        return slot.serve(chosen.dir, chosen.parcel, chosen.index, chosen.id)
    if chosen.command == "pilot":
        where = Shared(os.path.abspath(chosen.dir), chosen.name)
        return Pilot(where, chosen.slots, chosen.memory, chosen.idle, chosen.wall).run()
    if chosen.command == "desk":
        json.dump(desk_answer(Shared(chosen.dir, chosen.writer), json.load(sys.stdin.buffer)), sys.stdout)
        return 0
    parser.print_help(sys.stderr)
    return 2


def run(chosen: Namespace) -> int:
    """Run the job of a directory; its scratch directory is left for looking at."""
    directory = os.path.abspath(chosen.directory)
    work = os.path.join(directory, "work")
    if not os.path.isdir(directory):
        sys.stderr.write("{} is not a directory; expected one with a spec.json\n".format(directory))
        return 2
    if chosen.again:
        shutil.rmtree(work, ignore_errors=True)
    elif os.path.exists(work):
        sys.stderr.write("{} is there: the job ran already; --again removes it and runs it once more\n".format(work))
        return 2
    what = _read(directory)
    if chosen.stage_out and isinstance(what, dict):
        what["stage_out"] = [{"kind": "posix", "root": os.path.abspath(chosen.stage_out)}]
    path = os.path.join(directory, "report.json")
    process.adopt_strays()
    job = Job(
        what,
        token=os.path.basename(directory),
        scratch=work,
        log=os.path.join(directory, "payload.log"),
        sandboxes=os.path.join(directory, "sandboxes"),
        node=socket.gethostname(),
        heartbeat=os.path.join(directory, "heartbeat.json"),
    )
    _write(path, report.never_updated(job.report["token"], job.report["job"], job.report["node"]))
    job.save = lambda done: _write(path, done)
    done = job.run()
    said = _write(path, done)
    for error in done["errors"]:
        sys.stderr.write("{code} {step}: {text}\n".format(**error))
    return codes.exit_status(done["exit_code"]) or (0 if said else 1)


def _read(directory: str) -> Any:
    try:
        with open(os.path.join(directory, "spec.json"), encoding="utf-8") as source:
            return json.load(source)
    except (OSError, ValueError) as fault:
        return "unreadable: {}".format(fault)


def _write(path: str, done: Dict[str, Any]) -> bool:
    raw = report.encode(done)
    try:
        report.write(path, raw)
    except OSError as fault:
        sys.stderr.write("no report can be written: {}\n{}\n".format(fault, raw.decode()))
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
