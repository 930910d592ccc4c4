"""Run the benches: `python -m bench [NAME ...] [--scale X] [--keep DIR] [--mariadb]`, figures to the screen and to
bench/results/NAME.json.

`--scale` makes those benches smaller or larger that have a natural size; `--keep`: where their stores lie between runs;
`--mariadb`: on a MariaDB of their own, where a bench can.
"""

import argparse
import importlib
import inspect
import json
from pathlib import Path
from typing import Any

USUAL = ("lifecycle", "local_jobs")
BENCHES = tuple(
    sorted(path.stem for path in Path(__file__).parent.glob("*.py") if "\ndef measure(" in path.read_text())
)
"""Every module here that can `measure`."""
RESULTS = Path(__file__).parent / "results"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Figures as ratios, each against a named peer."
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}; {' and '.join(USUAL)} if none is given"
    )
    parser.add_argument("--scale", type=float, help="share of the full size (default: as the bench says)")
    parser.add_argument("--keep", type=Path, help="directory for the stores, used again by the next run")
    parser.add_argument(
        "--mariadb", action="store_true", default=None, help="on a MariaDB server of its own instead of SQLite"
    )
    given = parser.parse_args()
    if unknown := sorted(set(given.names) - set(BENCHES)):
        parser.error(f"got {', '.join(unknown)}, expected some of {', '.join(BENCHES)}")
    if given.scale is not None and given.scale <= 0:
        parser.error(f"got --scale {given.scale}, expected more than 0")
    return given


def main() -> None:
    given = options()
    RESULTS.mkdir(exist_ok=True)
    for name in given.names or USUAL:
        bench = importlib.import_module(f"bench.{name}")
        print(f"{name}: {(bench.__doc__ or '').splitlines()[0]}")
        taken = inspect.signature(bench.measure).parameters
        wanted = {"scale": given.scale, "keep": given.keep, "mariadb": given.mariadb}
        asked: dict[str, Any] = {key: value for key, value in wanted.items() if key in taken and value is not None}
        figures = bench.measure(**asked)
        for key, value in figures.items():
            print(f"  {key:32} {value:14,.2f}")
        store = "-mariadb" if "mariadb" in asked else ""
        (RESULTS / f"{name}{store}.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
