"""Back-offs that others bring: functions found by the configuration or by entry point, judged before anything starts (PA-404)."""

import difflib
import importlib.metadata
from collections.abc import Mapping

from actors.messages import Refused
from config.site_settings import Errors
from domain.backoff import CURVES, PAUSE, Curve
from domain.spec import WorkflowSpec

GROUP = "prodagent.back_off"
"""Entry points by which a package brings curves that need no configuration."""


class WrongCurve(Exception):
    """A back-off of the configuration cannot be used: under which key, what it got, what was expected."""

    def __init__(self, key: str, got: str, expected: str) -> None:
        super().__init__(f"{key}: got {got}, expected {expected}")
        self.key, self.got, self.expected = key, got, expected


def known(errors: Errors) -> Mapping[str, Curve]:
    """Return all back-offs by name: the built-in ones, those of packages, those of the configuration. Raises WrongCurve."""
    points = [*importlib.metadata.entry_points(group=GROUP)]
    points += [importlib.metadata.EntryPoint(name, place, GROUP) for name, place in errors.curves.items()]
    return {**CURVES, **{point.name: _load(point) for point in points}}


def _load(point: importlib.metadata.EntryPoint) -> Curve:
    key = f"errors.curves.{point.name}"
    if point.name in (*CURVES, PAUSE):
        raise WrongCurve(key, repr(point.name), "a name that is not built in")
    try:
        found = point.load()
    except (ImportError, AttributeError) as error:
        raise WrongCurve(key, repr(point.value), f"module:function ({error})") from error
    if not callable(found):
        raise WrongCurve(key, f"{point.value}, a {type(found).__name__}", "a function of domain.backoff.Failed")
    curve: Curve = found
    return curve


def check(spec: WorkflowSpec, curves: Mapping[str, Curve]) -> None:
    """Refuse a workflow that names a back-off that this agent does not have."""
    for cause, wanted in spec.retry.back_off.items():
        if wanted.curve not in (*curves, PAUSE):
            near = difflib.get_close_matches(wanted.curve, curves, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join([*curves, PAUSE])}"
            raise Refused(f"retry.back_off.{cause}.curve: no back-off {wanted.curve!r}; {hint}")
