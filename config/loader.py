"""Read the configuration file of an agent, or say everything that is wrong with it.

`load(path)` answers `Loaded(settings, base, path)`: paths in the settings are absolute, `base` is the directory of the
file for the paths in plug-in options. Whatever is wrong is collected and raised as one `ConfigError`. The settings of
plug-ins are judged in the same go when `schemas` is given (see config/plugins.py).
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from config.faults import Fault, Faults, convert_collecting
from config.plugins import Schemas, convert_options, plugin_faults
from config.rules import broken_rules
from config.secret import resolve
from config.settings import Settings
from config.site_settings import Plugin, Target

S = TypeVar("S", bound=msgspec.Struct)


class ConfigError(Faults):
    """The configuration cannot be used; the message lists every fault."""


class Loaded(msgspec.Struct, frozen=True):
    """A configuration that holds: its settings, the directory its relative paths start from, its file; `added`: sites that
    are not of the file."""

    settings: Settings
    base: Path
    path: Path
    added: frozenset[str] = frozenset()

    def store_url(self, environ: Mapping[str, str] = os.environ) -> str:
        """The address of the database with its secrets in place; not to be logged."""
        return resolve(self.settings.agent.store, environ)

    def plugin(self, owner: Plugin | Target, kind: type[S], at: str) -> S:
        """The free keys of a backend as its own settings struct; raise ConfigError with every fault."""
        value, faults = convert_options(owner.options, kind, type(owner), str(self.path), at, self.base)
        if faults:
            raise ConfigError(faults)
        return value  # type: ignore[no-any-return]


def load(
    path: str | Path,
    schemas: Schemas | None = None,
    environ: Mapping[str, str] = os.environ,
    sites: Mapping[str, Any] = MappingProxyType({}),
) -> Loaded:
    """Read and check the file; raise ConfigError with every fault. `sites`: tables of sites beside its own."""
    loaded, faults = examine(path, schemas, environ, sites)
    if loaded is None or faults:
        raise ConfigError(faults)
    return loaded


def examine(
    path: str | Path,
    schemas: Schemas | None = None,
    environ: Mapping[str, str] = os.environ,
    sites: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Loaded | None, list[Fault]]:
    """Read and check the file; answer what it says, or None, and every fault."""
    where, path = str(path), Path(path).expanduser().absolute()
    data, faults = _read(path, where)
    if data is None:
        return None, faults
    own = data.get("sites", {})
    added = sites.keys() - own if isinstance(own, dict) else set()
    if added:
        data["sites"] = own | {name: sites[name] for name in added}
    settings, faults = convert_collecting(data, Settings, where, base=path.parent, only_secrets=True)
    faults = [*faults, *broken_rules(data, where, path.parent, environ)]
    if schemas is not None:
        named = {fault.key for fault in faults}
        faults += [fault for fault in plugin_faults(data, where, path.parent, schemas) if fault.key not in named]
    if settings is None or faults:
        return None, faults
    settings = _absolute_backups(_absolute_store(settings, path.parent), path.parent)
    return Loaded(settings, path.parent, path, frozenset(added)), []


def written(path: str | Path) -> Settings:
    """The settings as they stand in the file, paths not made absolute; raise ConfigError with every fault."""
    loaded = load(path)
    settings, faults = convert_collecting(_read(loaded.path, str(path))[0], Settings, str(path))
    if faults:
        raise ConfigError(faults)
    return settings  # type: ignore[no-any-return]


def _read(path: Path, where: str) -> tuple[dict[str, Any] | None, list[Fault]]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")), []
    except FileNotFoundError:
        problem = "no such file; expected a configuration (`config new` writes one)"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}; expected a readable file"
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 at byte {error.start}; expected TOML in UTF-8"
    except (ValueError, RecursionError) as error:  # tomllib lets both through for monstrous numbers and nesting
        problem = f"not TOML: {error}"
    return None, [Fault(where=where, key="", got="", expected=problem)]


def _absolute_backups(settings: Settings, base: Path) -> Settings:
    """The default of a table that is not in the file was not looked at."""
    backup = msgspec.structs.replace(settings.backup, directory=str(base / settings.backup.directory))
    return msgspec.structs.replace(settings, backup=backup)


def _absolute_store(settings: Settings, base: Path) -> Settings:
    scheme, mark, rest = settings.agent.store.partition(":///")
    if not mark or not scheme.startswith("sqlite") or rest.startswith(("/", ":memory:")):
        return settings
    agent = msgspec.structs.replace(settings.agent, store=f"{scheme}:///{base / rest}")
    return msgspec.structs.replace(settings, agent=agent)
