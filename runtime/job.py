"""Runs one job from its specification to its report."""

import os
import signal
import time
from types import FrameType
from typing import Any, Callable, Dict, List, Optional

from runtime import codes, inputs, keepsakes, process, report, sandbox, spec
from runtime.output import Output, concatenate
from runtime.payload import COUNTS, Payload
from runtime.problem import FULL, Problem, Stopped, explain
from runtime.watch import MEGABYTE, Heart, Watch

HEARTBEAT_S = 60.0
"""Seconds between two heartbeats if the specification does not say `heartbeat_s`."""
COUNTS_FILE = ".counts.json"
INPUTS = ".inputs"
"""In the working directory: what the payload says of its events; prestaged inputs."""


class Job(object):
    """One attempt. Its steps run in `scratch`, which must not exist yet, and write standard output and standard error
    to `log`; `sandboxes` is the node's directory of unpacked sandboxes, `heartbeat` the file that shows progress.

    `save` is handed the report when the job has ended, before what takes time and decides nothing.
    """

    def __init__(
        self, what: Any, token: str, scratch: str, log: str, sandboxes: str, node: str, heartbeat: str
    ) -> None:
        self.what: Dict[str, Any] = what if isinstance(what, dict) else {}
        self._faults = spec.faults(what)
        self.sandboxes = sandboxes
        self.scratch = scratch
        self.log = log
        self.counts = os.path.join(scratch, COUNTS_FILE)
        self.heartbeat = heartbeat
        self.save: Callable[[Dict[str, Any]], Any] = _nothing
        number = self.what.get("job")
        number = number if isinstance(number, int) and number >= 0 else 0
        self.report = report.blank(str(self.what.get("token") or token), number, node)
        self._started = time.monotonic()
        self._output: Optional[Output] = None
        self._payload: Optional[Payload] = None
        self._watch: Optional[Watch] = None
        self._step = ""

    def run(self) -> Dict[str, Any]:
        """Run the job; never raises, always returns a valid report."""
        stop = _obey_signals()
        stopped = False
        try:
            try:
                self._live()
            finally:
                stop()
        except BaseException as fault:  # the report has to say what happened, whatever it was
            stopped = isinstance(fault, Stopped)
            if self._output is not None:
                self._output.withdraw()
            report.fail(self.report, explain(fault, self._where()), report.tail(self.log))
            process.end_strays()  # a program that had just been started when the signal came
        self._sum_up()
        if not stopped:
            self._linger()
        return self.report

    def _where(self) -> str:
        return (self._payload.step if self._payload and self._step == "payload" else "") or self._step

    def _live(self) -> None:
        if self._faults:
            raise Problem(codes.SPEC_INVALID, "; ".join(self._faults))
        self._make_scratch()
        self._step = "sandbox"
        unpacked = sandbox.unpack(self.what.get("sandbox"), self.sandboxes)
        if unpacked:
            sandbox.show(unpacked, self.scratch)
        os.chdir(self.scratch)
        self._step = "inputs"
        paths = self._bring_inputs()
        self._clock("stage_in_s")
        self._step = "payload"
        self._run_payload(paths, unpacked or "")
        self._clock("steps_s")
        if self.what.get("output"):
            self._step = "stage-out"
            self._heart.beat(self._step)
            self._output = Output(self.what, self._path(), self.counts, self.report["inputs"], paths)
            self.report["outputs"].append(self._output.publish(self.report["token"]))
        self._clock("stage_out_s")

    def _make_scratch(self) -> None:
        try:
            os.mkdir(self.scratch)
        except OSError as fault:
            if fault.errno in FULL:
                raise
            raise Problem(codes.RUNTIME_FAILED, "no working directory can be made: {}".format(fault)) from fault

    def _clock(self, name: str) -> None:
        timing = self.report["timing"]
        timing[name] = round(time.monotonic() - self._started - sum(timing.values()), 6)

    def _bring_inputs(self) -> List[str]:
        wanted = self.what.get("inputs") or []
        directory = os.path.join(self.scratch, INPUTS)
        self.report["inputs"], paths = inputs.check(wanted, directory, bool(self.what.get("prestage")))
        bad = [entry for entry in self.report["inputs"] if not entry["ok"]]
        if bad:
            text = "{} of {} inputs missing or damaged: {lfn}: {problem}"
            raise Problem(codes.INPUT_UNREADABLE, text.format(len(bad), len(wanted), **bad[0]), "inputs")
        return paths

    def _run_payload(self, paths: List[str], unpacked: str) -> None:
        output = self.what.get("output") or {}
        lines = self._path() if output.get("count") == "lines" else ""
        self._heart = Heart(self.heartbeat, float(self.what.get("heartbeat_s") or HEARTBEAT_S), self.counts, lines)
        places = [self.scratch] + [self.log] * (os.path.dirname(self.log) != self.scratch)
        self._watch = Watch(self.what.get("limits") or {}, time.monotonic(), places, self._heart)
        self._payload = Payload(self.what, self.scratch, self.log, self._watch, self.report["steps"])
        if self.what.get("steps"):
            environment = dict(_inherited())
            environment.update(self.what.get("environment") or {})
            environment[COUNTS] = self.counts
            self._payload.run(environment, paths, unpacked)
        elif self.what.get("concatenate"):
            self._payload.step = "concatenate"
            concatenate(paths, self._path())

    def _path(self) -> str:
        return os.path.join(self.scratch, (self.what.get("output") or {}).get("file") or "")

    def _sum_up(self) -> None:
        wall = round(time.monotonic() - self._started, 6)
        self.report["resources"] = {"wall_s": wall, "cpu_s": 0.0, "memory_mb": 0.0}
        if self._watch is not None:
            self.report["resources"].update(
                cpu_s=round(self._watch.cpu, 6), memory_mb=round(self._watch.peak / MEGABYTE, 3)
            )
        self.report["ended_at"] = time.time()
        self.save(self.report)

    def _linger(self) -> None:
        """Keep what is to be kept; then wait, if the job failed so fast that its node may be a black hole (PA-321)."""
        failed = bool(self.report["exit_code"])
        keeps = self.what.get("log_archive") or (failed and self.what.get("store_fail"))
        left = float(self.what.get("hold_failure_s") or 0) - (time.monotonic() - self._started) if failed else 0.0
        if self._faults or (not keeps and left <= 0):
            return
        stop = _obey_signals()
        try:
            try:
                if failed:
                    keepsakes.store_fail(self.report, self.what, self._path())
                keepsakes.archive(self.report, self.what, self.log, self.scratch)
                time.sleep(max(0.0, left))
            finally:
                stop()
        except Stopped:
            pass
        self.report["ended_at"] = time.time()


_environment: Dict[str, str] = {}
_unstopped: List[bool] = []
_obeying: List[bool] = []
"""Of this process, which may run one job after another: what it inherited, once read; that a job is running and was not
told to stop; that the handlers are in place."""


def _nothing(_: Dict[str, Any]) -> None:
    pass


def _inherited() -> Dict[str, str]:
    if not _environment:
        _environment.update(os.environ)
    return _environment


def _obey_signals() -> Callable[[], None]:
    """From now on SIGTERM, SIGUSR1 (cancel) and SIGUSR2 (batch systems warn by it) raise Stopped, once; the answer makes them
    do nothing."""
    _unstopped[:] = [True]
    if not _obeying:
        _obeying.append(True)
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
            signal.signal(number, _stop)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])  # step.py waits for it
    return _unstopped.clear


def _stop(number: int, _: Optional[FrameType]) -> None:
    if _unstopped:
        _unstopped.clear()
        if number == signal.SIGUSR1:
            raise Stopped(codes.CANCELLED, "cancelled")
        raise Stopped(codes.SIGNALLED + number, "the runtime was told to stop by signal {}".format(number))
