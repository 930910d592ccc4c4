"""Secrets, which stand in a configuration only by reference: `${NAME}` for an environment variable, or a file.

A struct keeps the reference, never the secret, so that printing settings gives nothing away; `resolve` and `token` are
called where the secret is used, each time anew, so that a rotated one is picked up.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from config.settings import ProdMgrSettings

HIDDEN: Final = "(not shown)"
_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_TELLING: Final = re.compile(r"password|passphrase|secret|token|credential|private", re.IGNORECASE)


class SecretError(Exception):
    """A secret is referred to that is not there."""


def references(text: str) -> list[str]:
    """The environment variables that a text names."""
    return _REFERENCE.findall(text)


def missing(text: str, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Those of them that are unset or empty."""
    return [name for name in references(text) if not environ.get(name)]


def resolve(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """The text with each `${NAME}` replaced; raise SecretError when one is not set."""
    absent = missing(text, environ)
    if absent:
        raise SecretError(f"environment variable {absent[0]} is not set; expected the secret in it")
    return _REFERENCE.sub(lambda found: environ[found[1]], text)


def token(prodmgr: ProdMgrSettings, environ: Mapping[str, str] = os.environ) -> str:
    """The token for a ProdMgr, read now from its file or environment variable; raise SecretError without one."""
    if prodmgr.token_env is not None:
        return resolve(f"${{{prodmgr.token_env}}}", environ)
    path = Path(prodmgr.token_file or "")
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SecretError(f"token file {path} of ProdMgr {prodmgr.name}: {error}; expected a readable file") from error
    if not text:
        raise SecretError(f"token file {path} of ProdMgr {prodmgr.name}: got nothing, expected the token in it")
    return text


def open_password(url: str) -> bool:
    """Whether a database address has its password written out instead of referred to."""
    try:
        password = urlsplit(url).password
    except ValueError:
        return False
    return bool(password) and not _REFERENCE.fullmatch(password or "")


def telling(key: str) -> bool:
    """Whether the value of a free key with this name had better not be shown."""
    return bool(_TELLING.search(key))


def veiled(value: Any, key: str = "") -> Any:
    """A plain value as it may be shown: tables without what stands under telling names."""
    if isinstance(value, Mapping):
        return {name: veiled(item, str(name)) for name, item in value.items()}
    return HIDDEN if telling(key) else value
