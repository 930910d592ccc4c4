"""What befalls a job on the simulated cluster: decided by seed and token alone, so that every run is the same run."""

import hashlib
import math
import struct
from statistics import NormalDist
from typing import Annotated

import msgspec
from msgspec import Meta

from domain.exit_codes import EXECUTABLE_NOT_FOUND, WALL_TIME

Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]

_normal = NormalDist()
_numbers = struct.Struct(">9I").unpack


class SimulatedSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cluster and its vices. Shares are of attempts, times are seconds, an outage is (start, duration) from the
    cluster's beginning.

    Run times are log-normal around the median `run_s`, of jobs with inputs `merge_run_s` (0: as the others), with the width
    `run_sigma`. `success` end well, and of these `full_events` with all their events. `lost` vanish while running; `held`
    wait for `hold_s` (0: until cancelled); `duplicated` are told of twice; `late` show their end `late_s` after it; `lying`
    report an output that they never wrote. Of `nodes` the first `black_holes` fail whatever they get within a second, and
    so draw ever more jobs.
    A job without `events` in its specification makes `events`; an event is `event_bytes` large.
    """

    seed: int = 1
    slots: Positive = 1000
    nodes: Positive = 10
    black_holes: NotNegative = 0
    run_s: Seconds = 60.0
    merge_run_s: Seconds = 0.0
    run_sigma: Seconds = 0.3
    success: Share = 1.0
    full_events: Share = 1.0
    lost: Share = 0.0
    held: Share = 0.0
    hold_s: Seconds = 600.0
    duplicated: Share = 0.0
    late: Share = 0.0
    late_s: Seconds = 300.0
    lying: Share = 0.0
    failure_codes: Annotated[tuple[Positive, ...], Meta(min_length=1)] = (1, 134, 139)
    outages: tuple[tuple[Seconds, Seconds], ...] = ()
    events: NotNegative = 100
    event_bytes: NotNegative = 1000


class Fate(msgspec.Struct, frozen=True, gc=False):
    """Of one attempt: `code` as the report will say, `yields` the share of its events that it writes."""

    run_s: float
    code: int
    yields: float
    lost: bool
    held: bool
    duplicated: bool
    late: bool
    lying: bool


def draw(settings: SimulatedSettings, token: str, wall_s: float, *, merge: bool = False) -> Fate:
    """Return what befalls the attempt on a good node."""
    raw = hashlib.blake2b(f"{settings.seed}:{token}".encode(), digest_size=36).digest()
    luck = [number / 2**32 for number in _numbers(raw)]
    median = (merge and settings.merge_run_s) or settings.run_s
    run_s = median * math.exp(settings.run_sigma * _normal.inv_cdf(min(max(luck[0], 1e-9), 1 - 1e-9)))
    code = 0 if luck[1] < settings.success else settings.failure_codes[int(luck[8] * len(settings.failure_codes))]
    if run_s > wall_s:
        run_s, code = wall_s, WALL_TIME
    return Fate(
        run_s=run_s,
        code=code,
        yields=1.0 if luck[2] < settings.full_events else luck[8],
        lost=luck[3] < settings.lost,
        held=luck[4] < settings.held,
        duplicated=luck[5] < settings.duplicated,
        late=luck[6] < settings.late,
        lying=luck[7] < settings.lying,
    )


def swallowed(fate: Fate) -> Fate:
    """Return what becomes of that on a black-hole node."""
    return msgspec.structs.replace(fate, run_s=min(fate.run_s, 1.0), code=EXECUTABLE_NOT_FOUND, lost=False, late=False)


def failing(fate: Fate, code: int) -> Fate:
    """Return the fate of a job that its surroundings let fail at its end."""
    return msgspec.structs.replace(fate, code=code)
