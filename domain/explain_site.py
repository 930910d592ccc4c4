"""Say why a site gets no work (PA-218, OPS-09)."""

from collections.abc import Mapping

import msgspec

from domain.explain import Verdict, person


class SiteSight(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a site: its targets, free places of those that take work, alerts of those that are away."""

    name: str
    enabled: bool
    targets: list[str]
    free: Mapping[str, int] = {}
    silent: Mapping[str, str] = {}
    next_s: Mapping[str, float] = {}


def explain_site(site: SiteSight, now: float) -> Verdict:
    """Return why a site gets no work, or that it does."""
    if not site.enabled:
        text, unblocks = f"{site.name} is disabled in the configuration", "enabled = true there, and a restart"
        return person("site-disabled", text, unblocks)
    if not site.targets:
        text = f"{site.name} has no batch target: it only stores"
        return person("no-target", text, "a target in the configuration")
    if not site.free:
        text = f"all targets of {site.name} are disabled in the configuration"
        return person("targets-disabled", text, "enabled = true there")
    wake_at = now + site.next_s.get("queue", 0.0)
    if silent := [site.silent[name] for name in site.free if name in site.silent]:
        unblocks = "an answer of the target"
        return Verdict(
            code="target-silent", text="; ".join(silent), unblocks=unblocks, owner="submitter", wake_at=wake_at
        )
    if not any(site.free.values()):
        text, unblocks = f"every place of {', '.join(site.free)} is taken", "a job that ends there, or higher limits"
        return Verdict(code="no-slot", text=text, unblocks=unblocks, owner="queue", wake_at=wake_at)
    text = "; ".join(f"{name} has {free} free places" for name, free in site.free.items())
    return Verdict(code="open", text=text, unblocks="nothing", owner="queue", wake_at=wake_at, done=True)
