"""Types are looked at before threads decode: msgspec 0.22 crashes the interpreter otherwise."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
RACE = """
import sys, threading
sys.setswitchinterval(1e-5)
from domain.events import all_events, decode
from domain.spec import WorkflowSpec
import msgspec
raw = b'{"name": "a", "events": 1, "steps": [{"command": ["x"]}]}'
start = threading.Barrier(8)
def work():
    start.wait()
    for _ in range(20):
        msgspec.json.decode(raw, type=WorkflowSpec)
        decode("JobsQueued", b'{"type": "JobsQueued", "ids": [1]}')
threads = [threading.Thread(target=work) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


def test_many_threads_may_decode_first() -> None:
    for _ in range(5):
        subprocess.run([sys.executable, "-c", RACE], cwd=ROOT, check=True, timeout=60)
