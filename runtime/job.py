"""Runs one job from its specification to its report."""

import json
import os
import signal
import time
from types import FrameType
from typing import Any, Callable, Dict, List, Optional

from runtime import codes, inputs, report, sandbox, spec, step
from runtime.checksum import Digest
from runtime.problem import Problem, Stopped, explain
from runtime.stage_out import StageOut

COUNTS = "PRODAGENT_COUNTS"


class Job(object):
    """One attempt. Its steps run in `scratch`, which must not exist yet, and write standard output and standard error
    to `log`; `sandboxes` is the node's directory of unpacked sandboxes."""

    def __init__(self, what: Any, token: str, scratch: str, log: str, sandboxes: str, node: str) -> None:
        self.what: Dict[str, Any] = what if isinstance(what, dict) else {}
        self._faults = spec.faults(what)
        self.sandboxes = sandboxes
        self.scratch = scratch
        self.log = log
        self.counts = scratch + "/.counts.json"
        number = self.what.get("job")
        number = number if isinstance(number, int) and number >= 0 else 0
        self.report = report.blank(str(self.what.get("token") or token), number, node)
        self._stage: Optional[StageOut] = None
        self._step = ""

    def run(self) -> Dict[str, Any]:
        """Run the job; never raises, always returns a valid report."""
        stop = _obey_signals()
        try:
            try:
                self._live()
            finally:
                stop()
        except BaseException as fault:  # the report has to say what happened, whatever it was
            if self._stage is not None:
                self._stage.withdraw()
            report.fail(self.report, explain(fault, self._step), report.tail(self.log))
        self.report["ended_at"] = time.time()
        return self.report

    def _live(self) -> None:
        if self._faults:
            raise Problem(codes.SPEC_INVALID, "; ".join(self._faults))
        os.mkdir(self.scratch)
        self._step = "sandbox"
        unpacked = sandbox.unpack(self.what.get("sandbox"), self.sandboxes)
        if unpacked:
            sandbox.show(unpacked, self.scratch)
        self._step = "inputs"
        self._check_inputs()
        os.chdir(self.scratch)
        self._run_steps(unpacked or "")
        self._step = "stage-out"
        if self.what.get("output"):
            self._stage_out(self.what["output"])

    def _check_inputs(self) -> None:
        wanted = self.what.get("inputs") or []
        self.report["inputs"] = inputs.check(wanted)
        bad = [entry for entry in self.report["inputs"] if not entry["ok"]]
        if bad:
            text = "{} of {} inputs missing or damaged: {lfn}: {problem}"
            raise Problem(codes.INPUT_UNREADABLE, text.format(len(bad), len(wanted), **bad[0]), "inputs")

    def _run_steps(self, unpacked: str) -> None:
        limits = step.Limits(self.what.get("limits") or {}, time.monotonic())
        environment = dict(_inherited())
        environment.update(self.what.get("environment") or {})
        environment[COUNTS] = self.counts
        for place, entry in enumerate(self.what.get("steps") or []):
            self._step = str(entry.get("name") or "step{}".format(place + 1))
            own = dict(environment, **entry["environment"]) if entry.get("environment") else environment
            done = step.run(self._step, self._fill(entry["command"], unpacked), own, self.log, limits)
            self.report["steps"].append(done)
            self._judge(done, limits)
        if self.what.get("concatenate") and not self.what.get("steps"):
            self._step = "concatenate"
            self._concatenate()

    def _judge(self, done: Dict[str, Any], limits: step.Limits) -> None:
        number, code = done.get("signal"), done.get("exit_code")
        if not number and not code:
            return
        if limits.code:
            raise Problem(limits.code, limits.text, self._step)
        if _free_bytes(self.scratch) < step.MEGABYTE:
            raise Problem(codes.NODE_DISK_FULL, "no space left on the node at {}".format(self.scratch), self._step)
        if number:
            raise Problem(codes.SIGNALLED + number, "killed by signal {}".format(number), self._step)
        raise Problem(int(code or 1), "exit code {}".format(code), self._step)

    def _fill(self, command: List[str], unpacked: str) -> List[str]:
        words: List[str] = []
        for word in command:
            if word == "{inputs}":
                words.extend(entry["path"] for entry in self.what.get("inputs") or [])
            elif "{" in word:
                words.append(word.replace("{output}", self._output_path()).replace("{sandbox}", unpacked))
            else:
                words.append(word)
        return words

    def _output_path(self) -> str:
        return os.path.join(self.scratch, (self.what.get("output") or {}).get("file") or "")

    def _concatenate(self) -> None:
        with open(self._output_path(), "xb", buffering=0) as sink:
            for entry in self.what.get("inputs") or []:
                with open(entry["path"], "rb", buffering=0) as source:
                    while os.sendfile(sink.fileno(), source.fileno(), None, 1 << 24):
                        pass

    def _stage_out(self, output: Dict[str, Any]) -> None:
        path = self._output_path()
        if not os.path.isfile(path):
            raise Problem(codes.OUTPUT_MISSING, "the payload left no file {}".format(output["file"]), "stage-out")
        events = self._events_known(output["count"])
        expected = self._events_in() if self.what.get("type") == "merge" else None
        lfn = output["lfn"]
        if output.get("merged_lfn") and os.stat(path).st_size >= output.get("merged_from_bytes", float("inf")):
            lfn = output["merged_lfn"]  # large enough to need no merge
        counted: List[int] = []

        def accept(digest: Digest) -> None:
            number = digest.lines if events is None else events
            counted[:] = [number]
            if expected is not None and number != expected:
                text = "{} events in the inputs, {} in the output".format(expected, number)
                raise Problem(codes.EVENTS_DIFFER, text, "stage-out")

        self._stage = StageOut(self.report["token"], self.what.get("stage_out_pauses_s") or [], accept)
        placed = self._stage.run(path, lfn, self.what["stage_out"])
        self.report["outputs"].append(
            {
                "lfn": lfn,
                "pfn": placed.pfn,
                "size": placed.digest.size,
                "events": counted[0],
                "adler32": placed.digest.adler32,
                "sha256": placed.digest.sha256,
            }
        )

    def _events_in(self) -> int:
        return sum(int(entry["events"]) for entry in self.report["inputs"])

    def _events_known(self, count: str) -> Optional[int]:
        """Return the events as counted without reading the output, or None if its lines are to be counted."""
        if count == "lines":
            return None
        if count == "inputs":
            return self._events_in()
        try:
            with open(self.counts) as source:
                counts: Dict[str, Any] = json.load(source)
                events = counts["events"]
        except (OSError, ValueError, KeyError, TypeError) as fault:
            text = "no event count in the file that ${} names: {!r}".format(COUNTS, fault)
            raise Problem(codes.COUNT_MISSING, text, "stage-out") from fault
        if not isinstance(events, int) or isinstance(events, bool) or events < 0:
            raise Problem(codes.COUNT_MISSING, "the event count is {!r}, expected a number".format(events), "stage-out")
        return int(events)


def _free_bytes(directory: str) -> int:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


_environment: Dict[str, str] = {}
_unstopped: List[bool] = []
_obeying: List[bool] = []
"""Of this process, which may run one job after another: what it inherited, once read; that a job is running and was not
told to stop; that the handlers are in place."""


def _inherited() -> Dict[str, str]:
    if not _environment:
        _environment.update(os.environ)
    return _environment


def _obey_signals() -> Callable[[], None]:
    """From now on SIGTERM and SIGUSR1 (cancel) raise Stopped, once; the answer makes them do nothing."""
    _unstopped[:] = [True]
    if not _obeying:
        _obeying.append(True)
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            signal.signal(number, _stop)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])  # step.py waits for it
    return _unstopped.clear


def _stop(number: int, _: Optional[FrameType]) -> None:
    if _unstopped:
        _unstopped.clear()
        if number == signal.SIGUSR1:
            raise Stopped(codes.CANCELLED, "cancelled")
        raise Stopped(codes.SIGNALLED + number, "the runtime was told to stop by signal {}".format(number))
