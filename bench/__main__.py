"""Run the benches: `python -m bench [NAME ...]`, figures to the screen and to bench/results/NAME.json."""

import importlib
import json
import sys
from pathlib import Path

BENCHES = ("lifecycle", "local_jobs")
RESULTS = Path(__file__).parent / "results"


def main(names: list[str]) -> None:
    RESULTS.mkdir(exist_ok=True)
    for name in names or BENCHES:
        bench = importlib.import_module(f"bench.{name}")
        print(f"{name}: {(bench.__doc__ or '').splitlines()[0]}")
        figures = bench.measure()
        for key, value in figures.items():
            print(f"  {key:32} {value:14,.2f}")
        (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
