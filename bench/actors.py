"""The actor core against a raw asyncio.Queue with a task, pykka's threads, and mindmesh where installed.

    python -m bench.actors [--repeats 5] [--scale 1.0] [--json FILE]

CPU time of this process, minimum of the repeats, garbage collector off while measuring. Figures are microseconds per
operation; the ratio is the raw queue's figure divided by it, so above 1 is faster than raw. Who has `def` handlers is compared
with a raw queue whose handlers are `def` too.
"""

import argparse
import asyncio
import json
import logging
import platform
from collections.abc import Awaitable
from pathlib import Path

from bench.actors_durable import durable
from bench.actors_measures import MEASURES, memory, restart, threads
from bench.actors_peers import CORES, RING, Raw, RawPlain, Supervised, SupervisedPlain, Threads

DURABLE = "durable path"
COLUMNS = ("tell", "ask", "ring", "spawn", "bytes", "restart")
Figures = dict[str, dict[str, float]]


def measure(*, repeats: int = 5, scale: float = 0.3) -> Figures:
    """Run every measure for everybody; microseconds, bytes."""
    logging.disable(logging.CRITICAL)
    results: Figures = {}
    for name, (work, full) in MEASURES.items():
        count = max(RING, int(full * scale))
        fewer = max(RING, count // (20 if name == "spawn" else 10))  # threads are slow
        for _ in range(repeats):  # in turn: what else the machine does meanwhile meets everybody
            for kind in CORES:
                _keep(results, kind.name, name, asyncio.run(_of(work(kind, count))) * 1e6)
            _keep(results, Threads.name, name, threads(name, fewer) * 1e6)
    for kind in CORES:
        _keep(results, kind.name, "bytes", asyncio.run(memory(kind, max(RING, int(2000 * scale)))))
    for _ in range(repeats):
        _keep(results, Supervised.name, "restart", asyncio.run(restart(max(RING, int(2000 * scale)))) * 1e6)
        cpu, wall = asyncio.run(durable(max(RING, int(5000 * scale))))
        _keep(results, DURABLE, "cpu", cpu * 1e6)
        _keep(results, DURABLE, "wall", wall * 1e6)
    logging.disable(logging.NOTSET)
    return results


async def _of(work: Awaitable[float]) -> float:
    return await work


def _keep(results: Figures, name: str, column: str, figure: float) -> None:
    row = results.setdefault(name, {})
    row[column] = min(row.get(column, figure), figure)


def show(results: Figures) -> None:
    """Print the table."""
    print(f"{'microseconds of CPU':28}" + "".join(f"{column:>16}" for column in COLUMNS))
    plain = (RawPlain.name, SupervisedPlain.name)
    for name, row in results.items():
        raw = results[RawPlain.name if name in plain else Raw.name]
        if name == DURABLE:
            print(f"{name}: {1e6 / row['wall']:.0f} facts/s committed and answered, {row['cpu']:.0f} us of CPU each")
        else:
            print(f"{name:28}" + "".join(f"{_cell(column, row, raw):>16}" for column in COLUMNS))


def _cell(column: str, row: dict[str, float], raw: dict[str, float]) -> str:
    if column not in row:
        return "-"
    if column in MEASURES:
        return f"{row[column]:.3g} ({raw[column] / row[column]:.2f} x)"
    return f"{row[column]:.0f}"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full number of operations")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    results = measure(repeats=options.repeats, scale=options.scale)
    show(results)
    if options.json is not None:
        about = {"python": platform.python_version(), "machine": platform.machine(), "repeats": options.repeats}
        options.json.write_text(json.dumps({"about": about, "figures": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
