"""Keeps what helps to understand a job: its log and report as an archive, and the output of a failed one.

Neither decides anything: what goes wrong here stands in the report and changes nothing else.
"""

import json
import os
from contextlib import suppress
from typing import Any, Dict, List

from runtime.checksum import Digest
from runtime.problem import Problem
from runtime.stage_out import StageOut


def archive(report: Dict[str, Any], what: Dict[str, Any], log: str, scratch: str) -> None:
    """Stage a compressed archive of the log and the report so far out to `log_archive.lfn`; note it in the report."""
    wanted = what.get("log_archive") or {}
    if not wanted.get("lfn"):
        return
    import tarfile  # noqa: PLC0415 -- slow to load

    pack = os.path.join(scratch, ".logs.tar.gz")
    draft = os.path.join(scratch, ".report-so-far.json")
    try:
        with open(draft, "w") as sink:
            json.dump(report, sink)
        with tarfile.open(pack, "w:gz") as sink:
            sink.add(draft, "report.json")
            if os.path.exists(log):
                sink.add(log, "payload.log")
        report["log_archive"] = _send(
            report["token"], pack, wanted["lfn"], wanted.get("stage_out") or what["stage_out"]
        )
    except (OSError, Problem, tarfile.TarError) as fault:
        report["log_archive"] = {"lfn": wanted["lfn"], "problem": str(fault)}
    finally:
        for path in (draft, pack):
            with suppress(OSError):
                os.unlink(path)


def store_fail(report: Dict[str, Any], what: Dict[str, Any], output: str) -> None:
    """Stage the output of a failed job out to `store_fail.lfn`, apart from good ones; nobody registers it."""
    wanted = what.get("store_fail") or {}
    if not wanted.get("lfn") or not output or not os.path.isfile(output):
        return
    try:
        report["kept"] = _send(report["token"], output, wanted["lfn"], what["stage_out"])
    except (OSError, Problem) as fault:
        report["kept"] = {"lfn": wanted["lfn"], "problem": str(fault)}


def _send(token: str, source: str, lfn: str, rules: List[Dict[str, Any]]) -> Dict[str, Any]:
    placed = StageOut(token, [], _accept, tries=1).run(source, lfn, rules)
    digest = placed.digest
    kept = {"lfn": lfn, "pfn": placed.pfn, "size": digest.size, "adler32": digest.adler32, "sha256": digest.sha256}
    if placed.site:
        kept["site"] = placed.site
    return kept


def _accept(_: Digest) -> None:
    pass
