#!/usr/bin/env python3
"""Draw the dimuon mass spectrum from the delivered files, with the Z peak."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy
import uproot

os.environ.setdefault("MPLBACKEND", "Agg")
TREE = "events"
LOW, HIGH, WIDTH = 40.0, 140.0, 1.0
FINE = 0.25
"""All in GeV: the range that is drawn, its bins, and the bins of the fit."""
BLUE, RED, GREY = "#1f4e79", "#b5322a", "#5c6670"


class Peak(NamedTuple):
    """Where the Z is: position, its uncertainty, full width at half maximum in GeV, and the height in entries/GeV."""

    mass: float
    error: float
    width: float
    height: float


class Spectrum:
    """The histogram of the dimuon mass, filled file by file, and which event numbers were seen."""

    def __init__(self) -> None:
        self.edges = numpy.arange(LOW, HIGH + FINE / 2, FINE)
        self.counts = numpy.zeros(len(self.edges) - 1)
        self.files = 0
        self.events = 0
        self._numbers: list[numpy.ndarray] = []

    def add(self, path: Path) -> None:
        """Read one file."""
        with uproot.open(path) as file:
            for piece in file[TREE].iterate(["event", "mass"], library="np", step_size=100_000):
                self.counts += numpy.histogram(piece["mass"], self.edges)[0]
                self.events += len(piece["mass"])
                self._numbers.append(piece["event"])
        self.files += 1

    @property
    def distinct(self) -> int:
        """How many different event numbers there are."""
        return len(numpy.unique(numpy.concatenate(self._numbers))) if self._numbers else 0

    def coarse(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return the centres and contents of the bins that are drawn."""
        together = round(WIDTH / FINE)
        counts = self.counts.reshape(-1, together).sum(axis=1)
        return LOW + WIDTH * (numpy.arange(len(counts)) + 0.5), counts

    def peak(self) -> Peak | None:
        """Fit a Breit-Wigner around the highest bin; None with too few events.

        The reciprocal of a Breit-Wigner is a parabola, so a weighted straight fit is enough.
        """
        centres = self.edges[:-1] + FINE / 2
        near = (abs(centres - 91.2) < 2.0) & (self.counts >= 10)
        if near.sum() < 8:
            return None
        x, n = centres[near] - 91.2, self.counts[near] / FINE
        sigma = numpy.sqrt(self.counts[near]) / FINE
        (a, b, c), covariance = numpy.polyfit(x, 1 / n, 2, w=n**2 / sigma, cov="unscaled")
        if a <= 0:
            return None
        at = -b / (2 * a)
        lowest = c - b**2 / (4 * a)
        slope = numpy.array([b / (2 * a**2), -1 / (2 * a), 0.0])
        error = float(numpy.sqrt(slope @ covariance @ slope))
        return Peak(91.2 + at, error, 2 * numpy.sqrt(lowest / a), 1 / lowest)


def main() -> None:
    """Draw, save, and print what was read."""
    parser = argparse.ArgumentParser(description="Draw the dimuon mass spectrum.")
    parser.add_argument("--output", type=Path, default=Path("zmumu.png"), help="the picture to write")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    parser.add_argument("paths", nargs="+", type=Path, help="files, or directories with files *.root below them")
    options = parser.parse_args()
    files = sorted(file for path in options.paths for file in (path.rglob("*.root") if path.is_dir() else [path]))
    if not files:
        sys.exit(f"no file *.root in {', '.join(map(str, options.paths))}")
    spectrum = Spectrum()
    for file in files:
        spectrum.add(file)
    peak = spectrum.peak()
    draw(spectrum, peak, options.output)
    tell(spectrum, peak, options.output, as_json=options.json)


def tell(spectrum: Spectrum, peak: Peak | None, path: Path, *, as_json: bool) -> None:
    """Print the figures."""
    if as_json:
        figures = {"events": spectrum.events, "distinct": spectrum.distinct, "files": spectrum.files}
        found = {"peak": peak and peak.mass, "peak_error": peak and peak.error}
        print(json.dumps({**figures, **found, "picture": str(path)}))
        return
    print(f"{spectrum.events:,} events, {spectrum.files} delivered files, {spectrum.distinct:,} distinct event numbers")
    if peak:
        print(f"the peak is at {peak.mass:.2f} ± {peak.error:.2f} GeV, {peak.width:.2f} GeV wide")
    print(path)


def draw(spectrum: Spectrum, peak: Peak | None, path: Path) -> None:
    """Save the picture."""
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.size": 11, "axes.linewidth": 0.9, "mathtext.default": "regular"})
    figure, axes = plt.subplots(figsize=(7.2, 5.0), dpi=160, layout="constrained")
    centres, counts = spectrum.coarse()
    edges = numpy.append(centres - WIDTH / 2, HIGH)
    axes.stairs(counts / WIDTH, edges, fill=True, color=BLUE, alpha=0.16)
    axes.stairs(counts / WIDTH, edges, color=BLUE, linewidth=1.0)
    filled = counts > 0
    errors = numpy.sqrt(counts[filled]) / WIDTH
    axes.errorbar(centres[filled], counts[filled] / WIDTH, errors, fmt="o", color=BLUE, markersize=2.6, elinewidth=0.9)
    if peak:
        x = numpy.linspace(peak.mass - 3, peak.mass + 3, 400)
        curve = peak.height / (1 + ((x - peak.mass) / (peak.width / 2)) ** 2)
        label = f"Z peak at {peak.mass:.2f} ± {peak.error:.2f} GeV"
        axes.plot(x, curve, color=RED, linewidth=1.6, label=label)
    decorate(axes, spectrum, (counts / WIDTH).max())
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)


def decorate(axes, spectrum: Spectrum, highest: float) -> None:
    """Axes with units, ticks on all sides, and what was produced."""
    axes.set_yscale("log")
    axes.set_xlim(LOW, HIGH)
    axes.set_ylim(max(0.5, highest / 3e4), highest * 4)
    axes.set_xlabel(r"dimuon mass $m_{\mu\mu}$ [GeV]", loc="right")
    axes.set_ylabel("events / GeV", loc="top")
    axes.tick_params(which="both", direction="in", top=True, right=True)
    axes.minorticks_on()
    files = "file" if spectrum.files == 1 else "files"
    told = f"{spectrum.events:,} events in {spectrum.files} delivered {files}"
    place = {"transform": axes.transAxes, "va": "top"}
    axes.text(0.03, 0.955, r"$pp \rightarrow Z/\gamma^{*} \rightarrow \mu^{+}\mu^{-}$", fontsize=15, **place)
    axes.text(0.03, 0.875, r"$\sqrt{s} = 13.6$ TeV, Pythia 8", color=GREY, **place)
    axes.text(0.03, 0.82, told, color=GREY, **place)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right", frameon=False)


if __name__ == "__main__":
    main()
