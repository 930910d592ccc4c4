"""Storage elements against the standard tool on the same server: MB/s of one large file, files/s of many small ones.

Ours has everything in it: temporary name, verification at the destination, publication under the final name. A tool by itself
copies and does nothing else; "checked", it is a careful person's script: the fastest copy, and then a checksum of what lies at
the destination, by its server where it has a word for that, else read back. What the files should sum up to is known to both.
In alternation, the best of several turns; servers on this machine. CPU is that of the clients.
"""

import asyncio
import os
import resource
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from backends.storage_element.base import StorageElement
from backends.storage_element.sums import read_through
from tests.real.elements import Place, place
from tests.real.sshd import USER, Sshd

LARGE_BYTES = 256_000_000
SMALL_BYTES = 100_000
SMALL_FILES = 100
TURNS = 5
AT_ONCE = 125
"""Small files under way at once, as the agent has them (`transfer.max_active` places of 25)."""


class Cost(NamedTuple):
    """Seconds, on the clock and of CPU."""

    wall: float
    cpu: float


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _content(path: Path, size: int) -> Path:
    path.write_bytes(os.urandom(size))
    return path


def _posix(_: Place, area: Path, files: list[str], names: list[str]) -> dict[str, str]:
    copy = f"cp {shlex.join(files)} {area}/ && sync {shlex.join(str(area / name) for name in names)}"
    return {"cp": copy, "checked": f"{copy} && cd {area} && openssl dgst -sha256 {shlex.join(names)}"}


def _sftp(running: Place, area: Path, files: list[str], names: list[str]) -> dict[str, str]:
    server = running.server
    assert isinstance(server, Sshd)
    ssh = ["-q", "-F", "/dev/null", "-i", str(server.identity), "-o", f"UserKnownHostsFile={server.known_hosts}"]
    to = [*files, f"{USER}@127.0.0.1:{area}/"]
    scp = shlex.join(["scp", *ssh, "-P", str(server.port), *to])
    gcm = shlex.join(["scp", "-c", "aes128-gcm@openssh.com", *ssh, "-P", str(server.port), *to])
    sums = f"cd {area} && openssl dgst -sha256 {shlex.join(names)}"
    look = shlex.join(["ssh", *ssh, "-p", str(server.port), f"{USER}@127.0.0.1", sums])
    return {"scp": scp, "scp_aes128gcm": gcm, "checked": f"{gcm} && {look}"}


def _xrootd(running: Place, area: Path, files: list[str], names: list[str]) -> dict[str, str]:
    assert running.server is not None
    server = f"root://127.0.0.1:{running.server.port}"
    to = [*files, f"{server}//store/{area.name}/"]
    copy = shlex.join(["xrdcp", "--nopbar", "--silent", *to])
    parallel = shlex.join(["xrdcp", "--nopbar", "--silent", "--parallel", "4", *to])
    questions = "".join(f"query checksum /store/{area.name}/{name}\n" for name in names)
    checked = f"{parallel} && printf %s {shlex.quote(questions)} | xrdfs {server}"
    return {"xrdcp": copy, "xrdcp_parallel": parallel, "checked": checked}


def _webdav(running: Place, area: Path, files: list[str], names: list[str]) -> dict[str, str]:
    assert running.server is not None
    to = f"http://127.0.0.1:{running.server.port}/{area.name}/"
    many = "{" + ",".join(files) + "}" if len(files) > 1 else files[0]
    put = shlex.join(["curl", "-sS", "--fail", "-T", many, to])
    back = shlex.join(["curl", "-sS", "--fail", *(to + name for name in names)])
    return {"curl": put, "curl_parallel": f"{put} -Z", "checked": f"{put} -Z && {back} | openssl dgst -sha256"}


TOOLS: dict[str, Callable[[Place, Path, list[str], list[str]], dict[str, str]]] = {
    "posix": _posix,
    "sftp": _sftp,
    "xrootd": _xrootd,
    "webdav": _webdav,
}
"""What brings files to a directory of the server, as a command of the shell by the name of the tool."""


async def _ours(element: StorageElement, sources: Sequence[Path], folder: str) -> Cost:
    turns = asyncio.Semaphore(AT_ONCE)
    births = [read_through(source).birth for source in sources]

    async def one(source: Path, lfn: str, number: int) -> None:
        async with turns:
            await element.publish(await element.receive(source, lfn, "bench", births[number]), lfn)

    begun, used = time.perf_counter(), _cpu()
    await asyncio.gather(*(one(source, f"/{folder}/{source.name}", n) for n, source in enumerate(sources)))
    return Cost(time.perf_counter() - begun, _cpu() - used)


def _theirs(running: Place, tool: str, sources: Sequence[Path], turn: int) -> Cost:
    area = running.data / f"{tool}-{len(sources)}-{turn}"
    area.mkdir()
    area.chmod(0o777)
    files, names = [str(source) for source in sources], [source.name for source in sources]
    command = TOOLS[running.kind](running, area, files, names)[tool]
    begun, used = time.perf_counter(), _cpu()
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)
    cost = Cost(time.perf_counter() - begun, _cpu() - used)
    shutil.rmtree(area)
    return cost


async def _compare(running: Place, sources: Sequence[Path]) -> dict[str, Cost]:
    """Return the least cost of ours and of each tool."""
    turns: dict[str, list[Cost]] = {}
    async with running.element() as element:
        await _ours(element, sources[:1], "warm-up")
        for turn in range(TURNS):
            folder = f"turn{turn}-{len(sources)}"
            turns.setdefault("ours", []).append(await _ours(element, sources, folder))
            shutil.rmtree(running.area / folder)
            for tool in TOOLS[running.kind](running, running.data, [""], [""]):
                turns.setdefault(tool, []).append(await asyncio.to_thread(_theirs, running, tool, sources, turn))
    return {name: Cost(*map(min, zip(*costs, strict=True))) for name, costs in turns.items()}


def measure(scale: float = 1.0) -> dict[str, float]:
    """Return MB/s, files/s and CPU seconds, and ours as a ratio to the fastest tool and to the checked one."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        large = [_content(directory / "large", int(LARGE_BYTES * scale))]
        small = [_content(directory / f"small{n}", SMALL_BYTES) for n in range(max(10, int(SMALL_FILES * scale)))]
        for kind in TOOLS:
            with place(kind, directory / kind) as running:
                for sources, unit, amount in (
                    (large, "mb_s", large[0].stat().st_size / 1e6),
                    (small, "files_s", len(small)),
                ):
                    least = asyncio.run(_compare(running, sources))
                    figures |= {f"{kind}.{tool}.{unit}": amount / cost.wall for tool, cost in least.items()}
                    figures |= {f"{kind}.{tool}.{unit}.cpu_s": cost.cpu for tool, cost in least.items()}
                    plain = min(cost.wall for tool, cost in least.items() if tool not in ("ours", "checked"))
                    figures[f"{kind}.ratio.{unit}"] = plain / least["ours"].wall
                    figures[f"{kind}.ratio_checked.{unit}"] = least["checked"].wall / least["ours"].wall
    return figures
