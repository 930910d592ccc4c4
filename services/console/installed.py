"""The program `prodagent` of an installed package: run_agent.py as it is run from a checkout, which imports little at first."""

import runpy
from pathlib import Path


def main() -> None:
    runpy.run_path(str(Path(__file__).parents[2] / "run_agent.py"), run_name="__main__")
