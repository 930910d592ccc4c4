"""What must hold between the keys of a configuration.

The rules look at the plain data, so that they are judged also where single values are wrong; what has the wrong shape
is passed over here, since the conversion names it.
"""

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from config.faults import Fault, home, join
from config.secret import HIDDEN, missing, open_password


def broken_rules(data: Mapping[str, Any], where: str, base: Path, environ: Mapping[str, str]) -> Iterator[Fault]:
    """Each rule that the data break; `base` is where relative paths start, `environ` holds the secrets."""
    for key, got, expected in (
        *_work_is_possible(data),
        *_target_names(data),
        *_prodmgr_names(data),
        *_host_names(data),
        *_fallback_names(data),
        *_store_secrets(data, environ),
        *_prodmgr_secrets(data, base, environ),
    ):
        yield Fault(where=where, key=key, got=got, expected=expected)


Broken = Iterator[tuple[str, str, str]]


def _work_is_possible(data: Mapping[str, Any]) -> Broken:
    for _, site in tables(data.get("sites")):
        if site.get("enabled", True) and any(target.get("enabled", True) for _, target in tables(site.get("targets"))):
            return
    yield "sites", "no enabled target", "at least one enabled site with an enabled target"


def _target_names(data: Mapping[str, Any]) -> Broken:
    seen: dict[str, str] = {}
    for site_name, site in tables(data.get("sites")):
        for name, _ in tables(site.get("targets")):
            key = join(join(join("sites", site_name), "targets"), name)
            if name in seen:
                yield key, f"the target name {name!r} again", f"one that differs from {seen[name]}"
            seen.setdefault(name, key)


def _prodmgr_names(data: Mapping[str, Any]) -> Broken:
    seen: dict[str, str] = {}
    for key, prodmgr in _prodmgrs(data):
        name = prodmgr.get("name")
        if isinstance(name, str):
            if name in seen:
                yield f"{key}.name", f"{name!r} again", f"a name that differs from {seen[name]}"
            seen.setdefault(name, f"{key}.name")


def _host_names(data: Mapping[str, Any]) -> Broken:
    """Whoever names a host names one that has a table, or this machine; no host is reached through itself."""
    hosts = dict(tables(data.get("hosts")))
    known = ["local", *hosts]
    named = [(join("hosts", name), "jump", host) for name, host in hosts.items()]
    for site_name, site in tables(data.get("sites")):
        at = join("sites", site_name)
        named += [(join(join(at, "targets"), name), "host", target) for name, target in tables(site.get("targets"))]
        if isinstance(site.get("storage"), Mapping):
            named.append((join(at, "storage"), "host", site["storage"]))
    for at, key, table in named:
        host = table.get(key)
        if isinstance(host, str) and host not in (known if key == "host" else hosts):
            near = "".join(f"{name!r}, or " for name in difflib.get_close_matches(host, known, 1))
            yield f"{at}.{key}", repr(host), f"{near}a table hosts.{host}"
    for name in hosts:
        way = [name]
        while isinstance(jump := hosts.get(way[-1], {}).get("jump"), str) and jump not in way:
            way.append(jump)
        if jump == name:
            yield f"{join('hosts', name)}.jump", " -> ".join([*way, name]), "a way that does not come back to itself"


def hosts_of(options: object) -> Iterator[str]:
    """Each host that the keys of a backend name, in its inner tables too; one that names none is on this machine."""
    if isinstance(options, Mapping):
        host = options.get("host", "local")
        yield from [host] if isinstance(host, str) else []
        for inner in options.values():
            if isinstance(inner, Mapping):
                yield from hosts_of(inner)


def _fallback_names(data: Mapping[str, Any]) -> Broken:
    """Outputs fall back to other sites, which can merge them: small files are merged where they lie."""
    sites = dict(tables(data.get("sites")))
    fit = [name for name, site in sites.items() if any(True for _ in tables(site.get("targets")))]
    for name, site in sites.items():
        listed = site.get("stage_out_fallback")
        for other in listed if isinstance(listed, list) else []:
            if other == name or other not in fit:
                expected = ", ".join(one for one in fit if one != name) or "none: no other site has a target"
                yield (
                    f"{join('sites', name)}.stage_out_fallback",
                    repr(other),
                    f"another site with a target: {expected}",
                )


def _store_secrets(data: Mapping[str, Any], environ: Mapping[str, str]) -> Broken:
    agent = data.get("agent")
    store = agent.get("store") if isinstance(agent, Mapping) else None
    if not isinstance(store, str):
        return
    for name in missing(store, environ):
        yield "agent.store", f"${{{name}}}", f"the environment variable {name} to be set"
    if open_password(store):
        yield "agent.store", f"a password {HIDDEN}", "${NAME}, an environment variable that holds it"


def _prodmgr_secrets(data: Mapping[str, Any], base: Path, environ: Mapping[str, str]) -> Broken:
    for key, prodmgr in _prodmgrs(data):
        name, file = prodmgr.get("token_env"), prodmgr.get("token_file")
        if isinstance(name, str) and not environ.get(name):
            yield f"{key}.token_env", repr(name), f"the environment variable {name} to be set"
        if isinstance(file, str) and not os.path.isfile(base / home(file)):
            yield f"{key}.token_file", repr(file), "a file that is there"


def _prodmgrs(data: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    listed = data.get("prodmgr")
    for index, prodmgr in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(prodmgr, Mapping):
            yield f"prodmgr[{index}]", prodmgr


def tables(data: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The named tables in a table; nothing for what is none."""
    for name, table in data.items() if isinstance(data, Mapping) else ():
        if isinstance(table, Mapping):
            yield str(name), table
