"""Write the reference page of the configuration from the structs."""

from collections.abc import Iterator

import msgspec

from config.keys import Key, all_keys
from config.settings import Settings
from config.verbs import default_text

_HEAD = """\
# Configuration

One TOML file holds everything that may be set for an agent. This page is generated from the structs in
`config/settings.py` and `config/site_settings.py`; `config/example.toml` shows every key with its default in one file,
`config/minimal.toml` the least that runs.

* Units stand in the names: `_s` seconds, `_mb` 10⁶ bytes, `_bytes` bytes, `_percent` of the whole.
* Relative paths start at the directory of the configuration file.
* All faults are reported together, each with its key, what stands there and what was expected; an unknown key names
  the nearest one.
* Secrets stand in the file only by reference: a token in `token_file` or in the variable named by `token_env`, a
  database password as `${NAME}` (an environment variable) inside `agent.store`. They are never shown.
* **live**: `reload` (or SIGHUP) lets a change act while the agent runs; where it says *restart*, it is named and waits for one.
  Sites and targets come and go live, with all their keys; a kind of backend stays until a restart.
"""


def render() -> str:
    """The whole page as Markdown."""
    sections = ("\n".join(_section(key)) for key in all_keys() if key.table is not None)
    return "\n".join([_HEAD, *sections])


def _section(key: Key) -> Iterator[str]:
    table = key.table or Settings
    yield f"## `{_heading(key)}`\n"
    yield f"{' '.join((table.__doc__ or '').split())}\n"
    rows = [row for row in all_keys(table, key.path) if row.table is None and _parent(row) == key.path]
    plain_rows = [row for row in rows if not row.free]
    if plain_rows:
        yield "| key | takes | default | live | what for |\n|---|---|---|---|---|"
        yield from (_row(row) for row in plain_rows)
    yield from (f"\nFurther keys, live: {row.about}." for row in rows if row.free)
    if plain_rows or rows:
        yield ""


def _heading(key: Key) -> str:
    return f"[[{key.path.removesuffix('[]')}]]" if key.path.endswith("[]") else f"[{key.path}]"


def _parent(key: Key) -> str:
    return key.path.rpartition(".")[0]


def _row(key: Key) -> str:
    default = "required" if key.default is msgspec.UNSET else default_text(key)
    shown = default if default in ("required", "not set") else f"`{default}`"
    takes = key.takes.replace("|", "\\|")
    return f"| `{key.name}` | {takes} | {shown} | {'restart' if key.restart else 'yes'} | {key.about} |"
