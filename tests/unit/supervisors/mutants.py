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
]

MUTANTS = [
    ("life.py", "self.cell.mailbox.put_back(envelope)", "pass", "a crash loses its message"),
    ("life.py", "if envelope.tries > self._redeliver:", "if False:", "poison is redelivered for ever"),
    ("life.py", "            self.cell.life = None\n", "            pass\n", "an old life is not fenced"),
    ("life.py", "not isinstance(error, Transient)", "True", "transient faults count as tries"),
    ("life.py", "if late < -1e-6:", "if True:", "overdue handlers are not cancelled"),
    ("life.py", "return self.is_current()  # else", "return True  # else", "an old life answers an ask"),
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
    ("cell.py", "self.let_one_send()  # the room", "pass  # the room", "a cancelled sender keeps its room"),
    ("child.py", "life.return_message(error)", "life.return_message(None)", "tries are not counted"),
    ("ticks.py", "if not tick.pending:", "if True:", "ticks pile up"),
    ("ticks.py", "            known.every = every\n", "            pass\n", "a new interval is ignored"),
    ("ref.py", "outer.deadline < deadline)", "False)", "deadlines are not inherited"),
    ("ref.py", "if outer.waits_for(cell):", "if False:", "ask cycles are not seen"),
]  # fmt: skip


def survives(folder: Path) -> bool:
    """Say whether the tests pass in that copy."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--timeout", "30", "-p", "no:cacheprovider"]
    command += [f"--confcutdir={folder / 'tests'}", *[f"tests/unit/supervisors/{name}" for name in TESTS]]
    return subprocess.run(command, cwd=folder, capture_output=True, timeout=300, check=False).returncode == 0


def main() -> int:
    """Try every mutant, print the verdicts."""
    survivors = 0
    for name, old, new, meaning in MUTANTS:
        source = (ROOT / "supervisors" / name).read_text()
        if source.count(old) < 1:
            print(f"STALE     {name}: {meaning}: its text is not there any more")
            survivors += 1
            continue
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            shutil.copytree(ROOT / "supervisors", folder / "supervisors", ignore=shutil.ignore_patterns("__pycache__"))
            shutil.copytree(Path(__file__).parent, folder / "tests/unit/supervisors")
            shutil.copy(ROOT / "pyproject.toml", folder)
            (folder / "supervisors" / name).write_text(source.replace(old, new))
            alive = survives(folder)
        survivors += alive
        print(f"{'SURVIVED' if alive else 'caught  '}  {name}: {meaning}", flush=True)
    print(f"{len(MUTANTS) - survivors} of {len(MUTANTS)} mutants were caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
