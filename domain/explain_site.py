"""Say why a site gets no work (PA-218, OPS-09)."""

from collections.abc import Mapping

import msgspec

from domain.explain import Verdict, person
from domain.placing import BY_PERSON, UNBLOCKS


class SiteSight(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a site: its targets, their free places, why those that are closed are ("code: text"), alerts of those
    that are away."""

    name: str
    targets: list[str]
    free: Mapping[str, int] = {}
    closed: Mapping[str, str] = {}
    silent: Mapping[str, str] = {}
    next_s: Mapping[str, float] = {}


def explain_site(site: SiteSight, now: float) -> Verdict:
    """Return why a site gets no work, or that it does."""
    if not site.targets:
        text = f"{site.name} has no batch target: it only stores"
        return person("no-target", text, "a target in the configuration")
    wake_at = now + site.next_s.get("queue", 0.0)
    if all(name in site.closed for name in site.targets):
        code, _, text = site.closed[site.targets[0]].partition(": ")
        if code in BY_PERSON:
            return person(code, text, UNBLOCKS[code])
        return Verdict(code=code, text=text, unblocks=UNBLOCKS[code], owner="queue", wake_at=wake_at)
    if silent := [site.silent[name] for name in site.targets if name in site.silent]:
        unblocks = "an answer of the target"
        return Verdict(
            code="target-silent", text="; ".join(silent), unblocks=unblocks, owner="submitter", wake_at=wake_at
        )
    if not any(site.free.values()):
        text, unblocks = f"every place of {', '.join(site.free)} is taken", "a job that ends there, or higher limits"
        return Verdict(code="no-slot", text=text, unblocks=unblocks, owner="queue", wake_at=wake_at)
    words = {name: f"has {free} free places" for name, free in site.free.items()} | dict(site.closed)
    text = "; ".join(f"{name} {word}" for name, word in words.items())
    return Verdict(code="open", text=text, unblocks="nothing", owner="queue", wake_at=wake_at, done=True)
