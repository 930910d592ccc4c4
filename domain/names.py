"""Names of files, datasets and blocks (DBS-02)."""

import hashlib

from domain.spec import WorkflowSpec

FAN_OUT = 1000
"""Most entries that a directory of the naming scheme holds."""


def unit_id(*meaning: object) -> str:
    """Return the id of a unit of work: equal meaning, equal id, so that making it twice is seen (PA-106)."""
    return hashlib.blake2b(repr(meaning).encode(), digest_size=16).hexdigest()


def lfn(spec: WorkflowSpec, *, merged: bool, counter: int, name: str) -> str:
    """Return /store[/unmerged]/category/era/primary/tier/processed/NNN/name.ext, NNN = counter // 1000."""
    area = "/store" if merged else "/store/unmerged"
    dataset = spec.dataset
    primary = dataset.primary or spec.name
    suffix = spec.output.file.rpartition(".")[2] if "." in spec.output.file else "dat"
    place = f"{area}/{spec.category}/{spec.era}/{primary}/{dataset.tier}/{dataset.processed}"
    return f"{place}/{counter // FAN_OUT:06d}/{name}.{suffix}"


def block_name(dataset: str, site: str, number: int) -> str:
    return f"{dataset}#{site}-{number:06d}"
