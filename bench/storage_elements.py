"""Storage elements against the standard tool on the same server: MB/s of one large file, files/s of many small ones.

Ours has everything in it: temporary name, two checksums, verification at the destination, publication under the final name.
A tool by itself copies and does nothing else; "checked", the same tools also sum up the source and what lies at the
destination, as a careful person would in a script. In alternation, the best of several turns; servers on this machine.
"""

import asyncio
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from backends.storage_element.base import StorageElement
from tests.real.elements import Place, place
from tests.real.sshd import USER, Sshd

LARGE_BYTES = 256_000_000
SMALL_BYTES = 100_000
SMALL_FILES = 100
TURNS = 3
AT_ONCE = 125
"""Small files under way at once, as the agent has them (`transfer.max_active` places of 25)."""


def _content(path: Path, size: int) -> Path:
    path.write_bytes(os.urandom(size))
    return path


def _tools(running: Place, area: Path, sources: Sequence[Path]) -> dict[str, list[str]]:
    """Return the commands that bring these files to a directory of the server, by name of the tool."""
    files, server = [str(source) for source in sources], running.server
    names = [source.name for source in sources]
    sum_up = f"openssl dgst -sha256 {shlex.join(files)} >/dev/null"
    if isinstance(server, Sshd):
        ssh = ["-q", "-F", "/dev/null", "-i", str(server.identity), "-o", f"UserKnownHostsFile={server.known_hosts}"]
        plain = ["scp", *ssh, "-P", str(server.port), *files, f"{USER}@127.0.0.1:{area}/"]
        look = ["ssh", *ssh, "-p", str(server.port), f"{USER}@127.0.0.1", f"cd {area} && sha256sum {shlex.join(names)}"]
        gcm = [*plain[:1], "-c", "aes128-gcm@openssh.com", *plain[1:]]
        script = f"{shlex.join(gcm)} && {shlex.join(look)} && {sum_up}"
        return {"scp": plain, "scp_aes128gcm": gcm, "checked": ["sh", "-c", script]}
    assert server is not None
    if running.kind == "xrootd":
        plain = ["xrdcp", "--nopbar", "--silent"]
        to = f"root://127.0.0.1:{server.port}//store/{area.name}/"
        checked = [*plain, "--cksum", "adler32", *files, to]
        return {
            "xrdcp": [*plain, *files, to],
            "xrdcp_parallel": [*plain, "--parallel", "4", *files, to],
            "checked": checked,
        }
    to = f"http://127.0.0.1:{server.port}/{area.name}/"
    many = "{" + ",".join(files) + "}" if len(files) > 1 else files[0]
    put = ["curl", "-sS", "--fail", "-T", many, to]
    get = ["curl", "-sS", "--fail", *(to + name for name in names)]
    script = f"{shlex.join(put)} && {shlex.join(get)} | openssl dgst -sha256 && {sum_up}"
    return {"curl": put, "curl_parallel": [*put, "-Z"], "checked": ["sh", "-c", script]}


async def _ours(element: StorageElement, sources: Sequence[Path], folder: str) -> float:
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(source: Path) -> None:
        async with turns:
            lfn = f"/{folder}/{source.name}"
            await element.publish(await element.receive(source, lfn, "bench"), lfn)

    begun = time.perf_counter()
    await asyncio.gather(*(one(source) for source in sources))
    return time.perf_counter() - begun


def _theirs(running: Place, command: str, sources: Sequence[Path], turn: int) -> float:
    area = running.data / f"{command}-{len(sources)}-{turn}"
    area.mkdir()
    area.chmod(0o777)
    begun = time.perf_counter()
    subprocess.run(_tools(running, area, sources)[command], check=True, capture_output=True)
    seconds = time.perf_counter() - begun
    shutil.rmtree(area)
    return seconds


async def _compare(running: Place, sources: Sequence[Path]) -> dict[str, float]:
    """Return the best seconds of ours and of each tool."""
    best: dict[str, float] = {}
    async with running.element() as element:
        await _ours(element, sources[:1], "warm-up")
        for turn in range(TURNS):
            folder = f"turn{turn}-{len(sources)}"
            seconds = {"ours": await _ours(element, sources, folder)}
            shutil.rmtree(running.area / folder)
            for name in _tools(running, running.data, sources):
                seconds[name] = await asyncio.to_thread(_theirs, running, name, sources, turn)
            best = {name: min(value, best.get(name, value)) for name, value in seconds.items()}
    return best


def measure(scale: float = 1.0) -> dict[str, float]:
    """Return MB/s and files/s of ours and of the tools, and ours as a ratio to the fastest tool and to the checked one."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        large = [_content(directory / "large", int(LARGE_BYTES * scale))]
        small = [_content(directory / f"small{n}", SMALL_BYTES) for n in range(max(10, int(SMALL_FILES * scale)))]
        for kind in ("sftp", "xrootd", "webdav"):
            with place(kind, directory / kind) as running:
                for sources, unit, amount in (
                    (large, "mb_s", large[0].stat().st_size / 1e6),
                    (small, "files_s", len(small)),
                ):
                    best = asyncio.run(_compare(running, sources))
                    figures |= {f"{kind}.{tool}.{unit}": amount / seconds for tool, seconds in best.items()}
                    plain = min(seconds for tool, seconds in best.items() if tool not in ("ours", "checked"))
                    figures[f"{kind}.ratio.{unit}"] = plain / best["ours"]
                    figures[f"{kind}.ratio_checked.{unit}"] = best["checked"] / best["ours"]
    return figures
