"""CPU per whole life of a job while the store grows: 20,000 lives on top of 10⁴ to 2.5·10⁶ jobs (10⁷ rows) that were there before.

The peer is the smallest store of the same run. CPU time of the process, least of two runs, since wall time tells of the
machine's other guests. What goes by the size of the store and by the hour, not by the job, is over before the clock starts:
reading the store through, a snapshot with its proof. The plot goes to docs/images/growth.png where matplotlib is installed.
"""

import asyncio
import contextlib
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path

from bench.filling import Plan
from bench.lifecycle import lives, trivial
from bench.queries import SITES, filled

SIZES = (10_000, 100_000, 1_000_000, 2_500_000)
"""Jobs; the largest store has 10⁷ rows."""
LIVES = 20_000
"""Enough that what goes by the size of the store once in a life of the agent (1.4 s of CPU at 10⁷ rows) weighs little."""
RUNS = 2
IMAGE = Path(__file__).parents[1] / "docs" / "images" / "growth.png"


def cost(directory: Path, run: int) -> float:
    """Return the CPU milliseconds per job of some lives in the store of a directory."""
    return 1000 * asyncio.run(lives(directory, trivial(LIVES, name=f"more-{run}"))).cpu / LIVES


def rows(path: Path) -> int:
    """Return how many rows the large tables hold."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        tables = ("job", "attempt", "file", "merge_input", "replica", "transfer", "event")
        return sum(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)


def measure(scale: float = 1.0, keep: Path | None = None) -> dict[str, float]:
    """Measure at `scale` times the sizes; `keep`: where the filled stores lie, made if they are not there."""
    figures: dict[str, float] = {}
    course: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=keep) as scratch:
        for size in (int(size * scale) for size in SIZES):
            full = (keep or Path(scratch)) / f"lived-{size}.db"
            if not full.exists():
                asyncio.run(filled(full, Plan(done=size, sites=SITES)))
            place = Path(scratch) / str(size)
            (place / "state").mkdir(parents=True)
            store = place / "state" / "agent.db"
            shutil.copy(full, store)
            figures[f"rows_at_{size}_jobs"] = rows(store)
            least = min(cost(place, run) for run in range(RUNS))
            course.append((size, least))
            figures[f"cpu_ms_per_job_at_{size}_jobs"] = least
            print(f"  {size:10,} jobs {least:6.3f} ms per job", file=sys.stderr, flush=True)
            shutil.rmtree(place)
    figures["ratio_largest_to_smallest"] = course[-1][1] / course[0][1]
    _plot(course)
    return figures


def _plot(course: list[tuple[int, float]]) -> None:
    with contextlib.suppress(ImportError):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 3.4), layout="constrained")
        axes = figure.subplots()
        axes.plot([size for size, _ in course], [cpu for _, cpu in course], marker="o")
        axes.set(xscale="log", xlabel="jobs in the store before", ylabel="CPU per job [ms]")
        axes.set_ylim(bottom=0)
        axes.axhline(1.2 * course[0][1], linestyle="--", color="grey", label="1.2 times the smallest store")
        axes.legend()
        figure.savefig(IMAGE, dpi=110)
