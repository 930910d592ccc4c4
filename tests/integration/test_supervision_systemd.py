"""A real process talks to a real service manager's socket; the shipped unit file fits what it says."""

import configparser
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import asyncio, signal, sys
sys.path.insert(0, sys.argv[1])
from supervisors import ActorSystem, AsyncioActor, ChildSpec, SupervisorSpec

async def main():
    system = ActorSystem(SupervisorSpec("root", (ChildSpec("a", AsyncioActor),)), notify=True)
    stop = lambda: stopping.append(asyncio.ensure_future(system.stop()))
    stopping = []
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    await system.start()
    print(await system.finished())

asyncio.run(main())
"""


@pytest.mark.feature("PA-004", "REL-11")
def test_a_process_tells_the_service_manager_how_it_is(tmp_path):
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(30)
        with subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROGRAM, str(ROOT)],
            env={**os.environ, "NOTIFY_SOCKET": address},
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                heard = [manager.recv(1000).decode() for _ in range(2)]
                assert heard == ["READY=1", "WATCHDOG=1"]
                process.send_signal(signal.SIGTERM)
                assert manager.recv(1000).decode() == "STOPPING=1"
                assert process.communicate(timeout=30)[0] == "stopped\n"
                assert process.returncode == 0
            finally:
                process.kill()


@pytest.mark.feature("PA-004")
def test_the_unit_file_waits_longer_than_the_agent_needs():
    unit = configparser.ConfigParser(strict=True, interpolation=None)
    unit.optionxform = str
    unit.read_string((ROOT / "docs/how-to/prodagent.service").read_text())
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert service["Restart"] == "always"
    assert (
        service.getint("WatchdogSec") > 60 + 2 * 5
    )  # the loop watch ends a frozen process before; pings come every 5 s
    assert service.getint("TimeoutStopSec") >= 60
    assert service["ExecStart"].split()[1].endswith("run_agent.py")
    how_to = (ROOT / "docs/how-to/run-under-systemd.md").read_text()
    for option in ("WatchdogSec", "TimeoutStopSec", "Restart=always", "StartLimitBurst", "ReadWritePaths"):
        assert option in how_to
        assert any(option.split("=")[0] in section for section in unit.values())


def judged(unit: Path) -> tuple[int, str]:
    """What systemd itself says of a unit file."""
    verdict = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    return verdict.returncode, verdict.stdout + verdict.stderr


@pytest.mark.feature("PA-004")
def test_systemd_finds_nothing_wrong_with_the_unit_file(tmp_path):
    text = (ROOT / "docs/how-to/prodagent.service").read_text()
    here = text.replace("/opt/prodagent/.venv/bin/python", sys.executable)
    unit = tmp_path / "prodagent.service"
    unit.write_text(here)
    assert judged(unit) == (0, "")
    unit.write_text(here.replace("WatchdogSec=", "WatchdogSeconds="))
    assert "Unknown key" in judged(unit)[1], "it does read the keys"
