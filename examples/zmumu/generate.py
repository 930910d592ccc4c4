#!/usr/bin/env python3
"""Generate pp -> Z/gamma* -> mu+ mu- with Pythia 8 and write one ROOT TTree, `events`.

What is on: the hard process at leading order with Z/gamma* interference, above 40 GeV; initial and final state showers,
so that the Z has a transverse momentum and the muons radiate photons; beam remnants. What is off, for speed: multiple
parton interactions and hadronisation. They cost fifteen times as much and leave the muons of a Z as they are.

The same seed and the same first event give the same content, on every machine. The bytes of the file still differ from
run to run, because ROOT files hold a time and a unique number: compare contents, or checksums of one and the same file.
"""

import argparse
import json
import os
import sys

FIXTURE = 65
"""Exit code of the fault that a demonstration asks for."""
SETTINGS = (
    "Print:quiet = on",
    "Beams:idA = 2212",
    "Beams:idB = 2212",
    "Beams:eCM = 13600.",
    "WeakSingleBoson:ffbar2gmZ = on",
    "PhaseSpace:mHatMin = 40.",
    "23:onMode = off",
    "23:onIfAny = 13",
    "PartonLevel:MPI = off",
    "HadronLevel:all = off",
    "Random:setSeed = on",
)
BRANCHES = {
    "event": "int64",
    "mass": "float64",  # of the two muons after all radiation, GeV
    "minus_pt": "float32",  # transverse momenta in GeV
    "minus_eta": "float32",
    "minus_phi": "float32",
    "minus_charge": "int32",
    "plus_pt": "float32",
    "plus_eta": "float32",
    "plus_phi": "float32",
    "plus_charge": "int32",
    "weight": "float64",
}


def main() -> None:
    """Generate the asked number of events, or end with an exit code other than 0."""
    fail_once_if_asked()
    parser = argparse.ArgumentParser(description="pp -> Z/gamma* -> mu+ mu- at 13.6 TeV, by Pythia 8, as a ROOT TTree.")
    parser.add_argument("--events", type=int, required=True, help="how many events")
    parser.add_argument("--first", type=int, required=True, help="number of the first event")
    parser.add_argument("--seed", type=int, required=True, help="of the random numbers, 1 to 900000000")
    parser.add_argument("--output", required=True, help="the file to write")
    options = parser.parse_args()
    rows = generate(options.events, options.first, options.seed)
    write(options.output, rows)
    report(len(rows))
    print(f"{len(rows)} events from {options.first} with seed {options.seed}")


def generate(events: int, first: int, seed: int) -> list[tuple]:
    """Return one tuple per event, in the order of BRANCHES."""
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    for setting in (*SETTINGS, f"Random:seed = {seed}"):
        if not pythia.readString(setting):
            sys.exit(f"Pythia does not take {setting!r}")
    if not pythia.init():
        sys.exit("Pythia did not start")
    rows = []
    failures = 0
    while len(rows) < events:
        if not pythia.next():
            failures += 1
            if failures > 100 + events // 10:
                sys.exit(f"Pythia gave up {failures} events; only {len(rows)} of {events} are there")
            continue
        minus, plus = muons(pythia.event)
        mass = (minus.p() + plus.p()).mCalc()
        rows.append((first + len(rows), mass, *seen(minus), -1, *seen(plus), 1, pythia.infoPython().weight()))
    return rows


def muons(event):
    """Return the mu- and the mu+ of the Z after all radiation; the hard process puts the Z at place 5."""
    boson = event[event[5].iBotCopyId()]
    pair = [event[event[place].iBotCopyId()] for place in (boson.daughter1(), boson.daughter2())]
    return (pair[0], pair[1]) if pair[0].charge() < 0 else (pair[1], pair[0])


def seen(muon) -> tuple[float, float, float]:
    return muon.pT(), muon.eta(), muon.phi()


def write(path: str, rows: list[tuple]) -> None:
    """Write the rows as a TTree."""
    import numpy
    import uproot

    columns = zip(*rows, strict=True)
    with uproot.recreate(path) as file:
        tree = file.mktree("events", BRANCHES)
        arrays = zip(BRANCHES.items(), columns, strict=True)
        tree.extend({name: numpy.array(column, dtype=kind) for (name, kind), column in arrays})


def report(events: int) -> None:
    """Tell the runtime how many events are in the file."""
    path = os.environ.get("PRODAGENT_COUNTS")
    if path:
        with open(path, "w") as sink:
            json.dump({"events": events}, sink)


def fail_once_if_asked() -> None:
    """End with code 65 if the demonstration asked for one bad job: whoever takes the file away is the one."""
    asked = os.path.join(os.environ.get("PRODAGENT_DEMO_FAULTS") or os.devnull, "exit-once")
    try:
        os.rename(asked, f"{asked}.taken")
    except OSError:
        return
    print("the demonstration asked for one job that ends badly: it is this one", file=sys.stderr)
    sys.exit(FIXTURE)


if __name__ == "__main__":
    main()
