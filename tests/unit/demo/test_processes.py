"""Starting, killing and ending the programs of a demonstration."""

import os
import signal
import sys
from pathlib import Path

import pytest

from services.demo.options import DemoError
from services.demo.processes import Child, call, descendants, last_lines, parent

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]


async def test_a_child_is_killed_and_started_again(tmp_path: Path) -> None:
    child = Child("sleeper", SLEEPER, tmp_path / "log")
    await child.start()
    first = child.pid
    await child.kill()
    assert not child.alive
    await child.start()
    assert (child.alive, child.starts, child.pid != first) == (True, 2, True)
    assert parent(child.pid) == os.getpid()
    assert child.pid in descendants([os.getpid()])
    await child.stop()
    assert not child.alive
    await child.stop()


async def test_a_child_is_in_a_session_of_its_own(tmp_path: Path) -> None:
    child = Child("sleeper", SLEEPER, tmp_path / "log")
    await child.start()
    try:
        assert os.getsid(child.pid) == child.pid  # so Ctrl-C reaches it only through us
    finally:
        await child.kill()
    assert await child.ended() == -signal.SIGKILL


async def test_a_failure_names_the_log_and_shows_its_end(tmp_path: Path) -> None:
    child = Child("the agent", [sys.executable, "-c", "import sys; sys.exit('no store')"], tmp_path / "agent.log")
    await child.start()
    assert await child.ended() == 1
    assert str(child.failure()) == f"the agent ended with 1; the end of {tmp_path / 'agent.log'}:\nno store"


async def test_a_child_that_was_never_started_cannot_end(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="the agent was never started"):
        await Child("the agent", SLEEPER, tmp_path / "log").ended()


async def test_a_call_returns_code_and_output_and_logs_both(tmp_path: Path) -> None:
    program = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    assert await call([sys.executable, "-c", program], tmp_path / "log") == (3, "out\n")
    assert (tmp_path / "log").read_text().endswith("out\nerr\n")


def test_the_end_of_a_log_that_is_not_there(tmp_path: Path) -> None:
    assert "No such file" in last_lines(tmp_path / "none")
