"""Breaks the actor core in one place at a time and checks that the tests notice.

    python -m tests.unit.supervisors.mutants [WORD ...]

Each mutant is a copy of `supervisors/` with one text replaced; a survivor is a hole in the tests. With words only those whose meaning has one of them.
Takes some minutes.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TESTS = [
    "test_first_steps.py",
    "test_strategies.py",
    "test_budgets.py",
    "test_starting.py",
    "test_hangs.py",
    "test_children.py",
    "test_time.py",
    "test_mailbox.py",
    "test_batches.py",
    "test_plain.py",
    "test_eager.py",
    "test_cancels.py",
    "test_state_machine.py",
    "test_conformance.py",
    "test_drain.py",
    "test_replace.py",
]

FIRST = {
    "cell.py": "test_budgets.py",
    "child.py": "test_replace.py",
    "deadlines.py": "test_hangs.py",
    "drain.py": "test_drain.py",
    "life.py": "test_hangs.py",
    "mailbox.py": "test_mailbox.py",
    "ref.py": "test_conformance.py",
    "rest.py": "test_eager.py",
    "restarts.py": "test_budgets.py",
    "run_queue.py": "test_plain.py",
    "service.py": "test_batches.py",
    "supervisor.py": "test_strategies.py",
    "ticks.py": "test_time.py",
}
"""The tests that most likely notice: they are run first."""

MUTANTS = [
    ("cell.py", "self.mailbox.put_back(envelope)", "pass", "a crash loses its message"),
    ("cell.py", "if envelope.tries > redeliver:", "if False:", "poison is redelivered for ever"),
    ("life.py", "        self.cell.release(self)\n", "        pass\n", "an old life is not fenced"),
    ("cell.py", "not isinstance(error, Transient)", "True", "transient faults count as tries"),
    ("life.py", "if late < -1e-6:", "if True:", "overdue handlers are not cancelled"),
    ("service.py", "return self.cell.life is self  # else", "return True  # else", "an old life answers an ask"),
    ("supervisor.py", "if not isinstance(error, Transient):", "if True:", "transient faults spend the budget"),
    ("supervisor.py", "for child in reversed(self._share(failed)):", "for child in [failed]:", "groups are not taken down"),
    ("supervisor.py", "for child in reversed(self.children.values()):\n            await", "for child in self.children.values():\n            await", "stops in start order"),
    ("supervisor.py", "if not child.essential:\n            return child.budget", "if True:\n            return child.budget", "no essential actor escalates"),
    ("supervisor.py", "await self._retire_children(abort=True)\n            raise", "raise", "children outlive their supervisor"),
    ("supervisor.py", "child in wanted and not child.running", "child in wanted", "a running child is launched again"),
    ("supervisor.py", "            if child.restart is Restart.TEMPORARY:\n", "            if False:\n", "temporary children come back"),
    ("restarts.py", "<= self.intensity", "< self.intensity", "one restart too few"),
    ("restarts.py", "<= self.intensity", "<= self.intensity + 1", "one restart too many"),
    ("restarts.py", "self.failures = 0\n        self.failures += 1", "pass\n        self.failures += 1", "pauses never start over"),
    ("mailbox.py", "draw.appendleft(item)", "draw.append(item)", "a redelivered message loses its place"),
    ("mailbox.py", "if turn == _BULK_TURN and bulk:", "if False:", "bulk starves"),
    ("mailbox.py", "if turn == _NORMAL_TURN and normal:", "if False:", "normal starves"),
    ("mailbox.py", "for level in Priority:\n", "for level in [Priority.NORMAL]:\n", "a stop overtakes other levels"),
    ("cell.py", "watcher.deliver(Down(self.name, text))", "pass", "monitors are not told"),
    ("service.py", "if cell.paused or cell.senders or", "if cell.paused or", "senders wait for ever"),
    ("child.py", "life.return_message(error)", "life.return_message(None)", "tries are not counted"),
    ("ticks.py", "if not tick.pending:", "if True:", "ticks pile up"),
    ("ticks.py", "            known.every = every\n", "            pass\n", "a new interval is ignored"),
    ("ref.py", "outer.deadline < ask.deadline)", "False)", "deadlines are not inherited"),
    ("service.py", "if self.cell.life is self and reply._value", "if reply._value", "an old life gives its late answer"),
    ("service.py", "            if self.expiry is None:\n                self.watch_handler()\n            if self.hold", "            if self.hold", "nobody looks at the handlers"),
    ("service.py", "        if self.current is not EMPTY:\n            self.hold = True\n", "        pass\n", "a handler is as old as its batch"),
    ("service.py", "            budget -= done\n", "", "an actor that is never done keeps the loop"),
    ("service.py", "                watch.note(done, now())\n", "                pass\n", "handled messages are not counted"),
    ("service.py", "                    if self.hold or not inbox:\n                        break\n", "", "a stop waits for the end of the batch"),
    ("run_queue.py", "self._inline >= _INLINE or nap", "nap", "who asks again and again keeps the loop"),
    ("run_queue.py", "self.depth < _DEEP and ", "", "asks inside asks end the stack"),
    ("run_queue.py", "            self.error = error\n", "            pass\n", "a plain handler fails unheard"),
    ("run_queue.py", " or not life.is_current():\n", ":\n", "an old plain life goes on"),
    ("run_queue.py", "                if life.hold or not inbox:\n", "                if not inbox:\n", "a plain actor cannot be paused in the midst"),
    ("run_queue.py", "                self.rest.cancel(end)\n                return\n", "                pass\n", "a cancel does not reach what a handler left"),
    ("run_queue.py", "life.context.run(self._handle)", "self._handle()", "a handler begins in the context of who asks"),
    ("run_queue.py", "if done or self.left is None:", "if True:", "a handler is as old as its first wait"),
    ("run_queue.py", "if not nap.done():  # a", "if True:  # a", "who cancels itself breaks the run queue"),
    ("run_queue.py", "self.budget > 0 and", "True and", "the run queue keeps the loop"),
    ("run_queue.py", " and self.loop.is_running()", "", "a handler runs without a running loop"),
    ("run_queue.py", "        except BaseException:\n            ask.over = True\n            raise\n", "", "an ask that ended its actor counts as being handled"),
    ("rest.py", "            if asyncio.isfuture(first) and first.cancel(*self._cancel.args):\n                return first\n", "", "a cancel leaves what is waited for alone"),
    ("rest.py", "            return self._handler.throw(self._cancel)\n", "            pass\n", "a cancel that comes early is lost"),
    ("dead_letters.py", "        self.fresh.append(letter)\n", "", "dead letters are not kept for the store"),
    ("system.py", "        if name in self._debugged:\n            self._debugged[name].stop()\n", "", "two debug switches leave one on"),
    ("drain.py", "timeout=phase.seconds", "timeout=None", "a phase that hangs holds up the stop"),
    ("drain.py", "if self._cut is not None:", "if False:", "a second stop waits for the drain"),
    ("child.py", "await settled(trial.self_check())", "pass", "an unfit implementation takes over"),
    ("supervisor.py", "                child.spec = before\n", "                pass\n", "a stillborn implementation stays"),
    ("deadlines.py", "if deadline < self.armed_at or", "if", "a nearer deadline is noticed late"),
    ("deadlines.py", "        self.sort_out()\n        now", "        now", "fresh asks are not looked at"),
    ("cell.py", "            self.hold_life()\n            self.wake()\n\n    def stop", "            self.wake()\n\n    def stop", "what the runtime delivers is overlooked"),
    ("cell.py", "        self.mark = 0\n        self.base_state = state", "        self.base_state = state", "a closed actor takes messages"),
    ("ref.py", "if outer.waits_for(ask.cell):", "if False:", "ask cycles are not seen"),
]  # fmt: skip


def stale() -> list[str]:
    """Return the mutants whose text is not there any more."""
    return [meaning for name, old, _, meaning in MUTANTS if (ROOT / "supervisors" / name).read_text().count(old) != 1]


def survives(mutant: tuple[str, str, str, str], tests: list[str]) -> bool:
    """Say whether those tests pass with that mutant."""
    name, old, new, _ = mutant
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shutil.copytree(ROOT / "supervisors", folder / "supervisors", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(Path(__file__).parent, folder / "tests/unit/supervisors")
        shutil.copy(ROOT / "pyproject.toml", folder)
        broken = folder / "supervisors" / name
        broken.write_text(broken.read_text().replace(old, new))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--timeout", "30", "-p", "no:cacheprovider"]
        command += [f"--confcutdir={folder / 'tests'}", *[f"tests/unit/supervisors/{test}" for test in tests]]
        try:
            return subprocess.run(command, cwd=folder, capture_output=True, timeout=900, check=False).returncode == 0
        except subprocess.TimeoutExpired:
            return False  # it hangs, which nobody can overlook


def main(words: list[str]) -> int:
    """Try every mutant, print the verdicts."""
    survivors = len(stale())
    for meaning in stale():
        print(f"STALE     {meaning}: its text is not there just once")
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant[3] for word in words)]
    for mutant in chosen:
        alive = survives(mutant, sorted(TESTS, key=lambda test: test != FIRST.get(mutant[0])))
        survivors += alive
        print(f"{'SURVIVED' if alive else 'caught  '}  {mutant[0]}: {mutant[3]}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants were caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
