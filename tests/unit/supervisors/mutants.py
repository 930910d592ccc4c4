"""Breaks the actor core in one place at a time and checks that the tests notice.

    python tests/unit/supervisors/mutants.py

Each mutant is a copy of `supervisors/` with one text replaced; a survivor is a hole in the tests. Takes some minutes.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TESTS = [
    "test_first_steps.py",
    "test_supervision.py",
    "test_mailbox.py",
    "test_state_machine.py",
    "test_conformance.py",
    "test_drain.py",
    "test_replace.py",
]

MUTANTS = [
    ("cell.py", "self.mailbox.put_back(envelope)", "pass", "a crash loses its message"),
    ("cell.py", "if envelope.tries > redeliver:", "if False:", "poison is redelivered for ever"),
    ("life.py", "        self.cell.release(self)\n", "        pass\n", "an old life is not fenced"),
    ("cell.py", "not isinstance(error, Transient)", "True", "transient faults count as tries"),
    ("life.py", "if late < -1e-6:", "if True:", "overdue handlers are not cancelled"),
    ("life.py", "return self.cell.life is self  # else", "return True  # else", "an old life answers an ask"),
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
    ("life.py", "if cell.paused or cell.senders or", "if cell.paused or", "senders wait for ever"),
    ("child.py", "life.return_message(error)", "life.return_message(None)", "tries are not counted"),
    ("ticks.py", "if not tick.pending:", "if True:", "ticks pile up"),
    ("ticks.py", "            known.every = every\n", "            pass\n", "a new interval is ignored"),
    ("ref.py", "outer.deadline < ask.deadline)", "False)", "deadlines are not inherited"),
    ("life.py", "if self.cell.life is self and reply._value", "if reply._value", "an old life gives its late answer"),
    ("life.py", "self._look()\n", "pass\n", "nobody looks at the handlers"),
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
            return subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False).returncode == 0
        except subprocess.TimeoutExpired:
            return False  # it hangs, which nobody can overlook


def main() -> int:
    """Try every mutant, print the verdicts."""
    survivors = len(stale())
    for meaning in stale():
        print(f"STALE     {meaning}: its text is not there just once")
    for mutant in MUTANTS:
        alive = survives(mutant, TESTS)
        survivors += alive
        print(f"{'SURVIVED' if alive else 'caught  '}  {mutant[0]}: {mutant[3]}", flush=True)
    print(f"{len(MUTANTS) - survivors} of {len(MUTANTS)} mutants were caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
