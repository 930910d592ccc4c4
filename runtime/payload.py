"""Runs the steps of a job in the order that their control points say, with the hooks around them."""

import os
from contextlib import suppress
from typing import Any, Dict, List, Sequence

from runtime import codes, oom, program
from runtime.plan import Plan
from runtime.problem import Problem
from runtime.watch import MEGABYTE, Watch

COUNTS = "PRODAGENT_COUNTS"
"""Environment variable that names the file in which a payload reports its events."""


class Payload(object):
    """The programs of one attempt; what they did is appended to `reports`. The working directory is the job's scratch."""

    def __init__(
        self, what: Dict[str, Any], scratch: str, log: str, watch: Watch, reports: List[Dict[str, Any]]
    ) -> None:
        self._what = what
        self._scratch = scratch
        self._log = log
        self._watch = watch
        self._reports = reports
        self.output = os.path.join(scratch, (what.get("output") or {}).get("file") or "")
        self.step = ""

    def run(self, environment: Dict[str, str], inputs: Sequence[str], sandbox: str) -> None:
        """Run all that is to be run; raise Problem when the job fails by it."""
        self._environment = environment
        self._inputs = inputs
        self._sandbox = sandbox
        self._previous = ""
        steps: List[Dict[str, Any]] = self._what.get("steps") or []
        hooks = self._hooks()
        self._hook("pre_task", hooks)
        plan = Plan(steps, self._exists)
        entry = self._next(plan)
        while entry is not None:
            self._hook("pre_step", hooks, plan.name())
            self.step = plan.name()
            code = self._run(self.step, self._filled(entry["command"]), entry.get("environment") or {})
            if not plan.ended(code):
                self._fail(code)
            self._after(entry, code)
            self._hook("post_step", hooks, self.step)
            entry = self._next(plan)
        self._hook("post_task", hooks)

    def _next(self, plan: Plan) -> Any:
        try:
            return plan.step()
        except LookupError as fault:
            raise Problem(codes.CONTROL_POINT, str(fault), plan.name()) from None

    def _run(self, name: str, command: List[str], environment: Dict[str, str]) -> int:
        """Run one program and return how it ended, 128 plus the number of the signal that killed it."""
        own = dict(self._environment, **environment) if environment else self._environment
        before = oom.kills()
        done = program.run(name, command, own, self._log, self._watch)
        self._reports.append(done)
        code = codes.SIGNALLED + done["signal"] if "signal" in done else int(done["exit_code"])
        if code and self._watch.code:
            raise Problem(self._watch.code, self._watch.text, name)
        if code == oom.KILLED and oom.kills() > before:
            raise Problem(codes.MEMORY, "killed by the kernel: no memory is left to its control group", name)
        if not os.path.isdir(self._scratch):
            raise Problem(codes.RUNTIME_FAILED, "the working directory {} is gone".format(self._scratch), name)
        if code and _free_bytes(self._scratch) < MEGABYTE:
            raise Problem(codes.NODE_DISK_FULL, "no space left on the node at {}".format(self._scratch), name)
        return code

    def _fail(self, code: int) -> None:
        done = self._reports[-1]
        if "signal" in done:
            raise Problem(code, "killed by signal {}".format(done["signal"]), self.step)
        if code:
            raise Problem(code, "exit code {}".format(code), self.step)
        raise Problem(codes.CONTROL_POINT, "the control point after {} says fail".format(self.step), self.step)

    def _after(self, entry: Dict[str, Any], code: int) -> None:
        """Remove the earlier outputs that nobody needs any more, and remember this one for the next step."""
        if not code:
            for name in entry.get("drop") or []:
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(self._scratch, name))
        if entry.get("output"):
            self._previous = os.path.join(self._scratch, entry["output"])

    # hooks

    def _hooks(self) -> Dict[str, str]:
        """Return the hooks by name, all of them usable: a missing one ends the job before its payload."""
        hooks: Dict[str, str] = {}
        for name, file in (self._what.get("hooks") or {}).items():
            path = os.path.join(self._scratch, file)
            if not os.path.isfile(path) or not os.access(path, os.X_OK):
                wrong = "is not executable" if os.path.isfile(path) else "is not in the sandbox"
                raise Problem(codes.HOOK_UNUSABLE, "hook {}: {} {}".format(name, file, wrong), name)
            hooks[name] = path
        return hooks

    def _hook(self, name: str, hooks: Dict[str, str], step: str = "") -> None:
        if name in hooks:
            self.step = name
            code = self._run(name, [hooks[name]] + [step] * bool(step), {})
            if code:
                self._fail(code)

    # words

    def _exists(self, name: str) -> bool:
        return os.path.exists(os.path.join(self._scratch, name))

    def _filled(self, command: List[str]) -> List[str]:
        words: List[str] = []
        for word in command:
            if word == "{inputs}":
                words.extend(self._inputs)
            elif "{" in word:
                filled = word.replace("{output}", self.output).replace("{sandbox}", self._sandbox)
                words.append(filled.replace("{previous}", self._previous))
            else:
                words.append(word)
        return words


def _free_bytes(directory: str) -> int:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize
