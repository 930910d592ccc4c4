"""The clerk on the login node: what it does for many jobs in one call, and what it refuses to do twice."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runtime import clerk, slot
from runtime.build import build
from runtime.clerk import Clerk, ranges
from runtime.site_spool import VOID, VOID_KEPT_S, SiteSpool

ECHO = ["sh", "-c", 'cat >>"$1"; echo 77', "sh"]


@pytest.fixture
def site(tmp_path: Path) -> SiteSpool:
    made = SiteSpool(str(tmp_path / "site"))
    made.create()
    return made


def ask(site: SiteSpool, do: str, **request: Any) -> Any:
    return Clerk(site.root, {"do": do, **request}).answer()


def parcel(site: SiteSpool, name: str, *tokens: str) -> dict[str, Any]:
    argv = [*ECHO, f"{site.root}/handed"]
    return {
        "name": name,
        "argv": argv,
        "stdin": "{indices};",
        "script": "true",
        "jobs": [[token, "{}"] for token in tokens],
    }


def handed(site: SiteSpool) -> str:
    path = Path(site.root, "handed")
    return path.read_text() if path.exists() else ""


@pytest.mark.feature("PA-308", "PA-309")
def test_a_token_is_handed_over_once(site: SiteSpool) -> None:
    first = ask(site, "submit", parcels=[parcel(site, "p", "a", "b", "c")])["parcels"][0]
    assert first["sent"] == {"code": 0, "out": "77\n", "err": ""}
    again = ask(site, "submit", parcels=[parcel(site, "q", "b", "d")])["parcels"][0]
    assert handed(site) == "0-2;1;"
    assert again["known"]["b"]["sent"] == first["sent"]
    assert (again["known"]["b"]["parcel"], again["known"]["b"]["index"]) == ("p", 1)


@pytest.mark.feature("PA-308")
def test_a_question_keeps_a_late_submission_out(site: SiteSpool) -> None:
    record = ask(site, "find", tokens=["a"])["tokens"]["a"]
    assert (record["run"], record["parcel"]) == (VOID, None)
    late = ask(site, "submit", parcels=[parcel(site, "a", "a")])["parcels"][0]
    assert "sent" not in late
    assert handed(site) == ""
    assert slot.attend(site.root, "a", "1") == slot.NOT_OURS
    ask(site, "clean", tokens=["a"], over=["a"])
    assert "sent" not in ask(site, "submit", parcels=[parcel(site, "a", "a")])["parcels"][0], (
        "the mark was cleaned away"
    )


@pytest.mark.feature("PA-308")
def test_marks_of_nothing_are_forgotten_after_days(site: SiteSpool) -> None:
    ask(site, "find", tokens=["old", "new"])
    ask(site, "submit", parcels=[parcel(site, "kept", "kept")])
    for token in ("old", "kept"):
        os.utime(site.job(token), (1.0, 1.0))
    assert VOID_KEPT_S >= 86_400
    ask(site, "open")
    assert [os.path.isdir(site.job(token)) for token in ("old", "new", "kept")] == [False, True, True]


@pytest.mark.feature("PA-308", "PA-313")
def test_a_fenced_token_never_runs_and_a_running_one_is_not_fenced(site: SiteSpool) -> None:
    ask(site, "submit", parcels=[parcel(site, "p", "a", "b")])
    assert site.claim("b", "node:1:77")
    assert ask(site, "fence", tokens=["a", "b"]) == {"running": {"b": "node:1:77"}}
    assert slot.attend(site.root, "a", "77_0") == slot.NOT_OURS
    assert site.ended("a") is None


@pytest.mark.feature("PA-308")
def test_a_token_without_a_directory_is_fenced_too(site: SiteSpool) -> None:
    """The request comes late: the job was cleaned up, or never came here. It must not come after the fence either."""
    assert ask(site, "fence", tokens=["gone"]) == {"running": {}}
    assert site.runner("gone") == VOID
    assert not site.begin("gone")


@pytest.mark.feature("PA-316")
def test_cancel_ends_what_has_not_begun_and_marks_what_has(site: SiteSpool) -> None:
    ask(site, "submit", parcels=[parcel(site, "p", "a", "b")])
    site.claim("b", "node:1:77")
    ask(site, "cancel", tokens=["a", "b", "unknown"])
    ended = site.ended("a")
    assert ended is not None
    assert ended["reason"] == "cancelled"
    assert site.ended("b") is None
    assert os.path.exists(os.path.join(site.job("b"), "cancelled"))


@pytest.mark.feature("PA-303")
def test_without_time_nothing_more_is_handed_over(site: SiteSpool) -> None:
    answer = Clerk(site.root, {"do": "submit", "deadline_s": 0, "parcels": [parcel(site, "p", "a")]}).answer()
    assert answer == {"parcels": [{"late": True}]}
    assert not os.path.exists(site.job("a"))


@pytest.mark.feature("PA-308")
def test_a_command_without_end_is_killed_and_called_late(site: SiteSpool) -> None:
    answer = Clerk(site.root, {"do": "run", "deadline_s": 0.2, "commands": [["sleep", "600"]]}).answer()
    assert answer["answers"][0]["late"]


@pytest.mark.feature("PA-301")
def test_reports_come_in_portions(site: SiteSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clerk, "FETCH_BYTES", 10)
    for token in ("a", "b", "c"):
        site.begin(token)
        Path(site.job(token), "report.json").write_text(json.dumps({"token": token}))
    first = ask(site, "fetch", tokens=["a", "missing", "b", "c"])
    assert set(first["reports"]) == {"a"}
    assert first["rest"] == ["missing", "b", "c"]


@pytest.mark.feature("PA-301")
def test_cleaning_takes_ended_jobs_and_their_parcels_and_leaves_live_ones(site: SiteSpool) -> None:
    ask(site, "submit", parcels=[parcel(site, "p", "a", "b")])
    site.end("a", 0, "")
    ask(site, "clean", tokens=["a", "b"], over=[])
    assert not os.path.exists(site.job("a"))
    assert os.path.exists(site.job("b"))
    ask(site, "clean", tokens=["b"], over=["b"])
    assert os.listdir(site.parcels) == []
    assert os.listdir(site.ends) == []


def test_ranges_are_written_as_batch_systems_write_them() -> None:
    assert ranges([]) == ""
    assert ranges([3]) == "3"
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"


@pytest.mark.feature("PA-303", "PA-319")
def test_it_answers_from_the_zipapp(site: SiteSpool, tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", str(build(tmp_path)), "clerk", site.root]
    request = json.dumps({"do": "run", "commands": [["echo", "hello"]]})
    done = subprocess.run(command, input=request, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"answers": [{"code": 0, "out": "hello\n", "err": ""}]}


@pytest.mark.feature("PA-303")
def test_commands_do_not_see_what_an_account_set_for_them(site: SiteSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQUEUE_PARTITION", "debug")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    shown = ["sh", "-c", 'echo "$SQUEUE_PARTITION$SBATCH_WAIT$SLURM_CONF"']
    request = {"unset": ["SQUEUE_", "SBATCH_"], "environment": {"SBATCH_WAIT": "no"}, "commands": [shown]}
    assert ask(site, "run", **request)["answers"][0]["out"] == "no/etc/slurm.conf\n", (
        "what the configuration says is seen"
    )


@pytest.mark.feature("PA-303", "PA-319")
@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "de_DE.ISO-8859-1"])
def test_an_accounts_locale_changes_nothing(site: SiteSpool, tmp_path: Path, locale: str) -> None:
    """Other jobs of the account may have any name, and a specification any word."""
    order = {**parcel(site, "p", "a"), "jobs": [["a", '{"name": "Zµµ"}']], "argv": ["printf", r"m\265\303\251"]}
    command = [sys.executable, "-I", "-S", str(build(tmp_path)), "clerk", site.root]
    asked = json.dumps({"do": "submit", "parcels": [order]}, ensure_ascii=False).encode()
    environment = {"LC_ALL": locale, "PATH": os.environ["PATH"], "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run(command, input=asked, env=environment, capture_output=True, check=True)
    assert json.loads(done.stdout)["parcels"][0]["sent"]["out"] == "m\N{REPLACEMENT CHARACTER}é"
    assert json.loads(Path(site.job("a"), "spec.json").read_bytes()) == {"name": "Zµµ"}


@pytest.mark.feature("PA-303")
def test_a_directory_that_is_gone_is_told_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", str(build(tmp_path)), "clerk", str(tmp_path / "gone")]
    request = json.dumps({"do": "poll", "since": 0, "commands": []})
    done = subprocess.run(command, input=request, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"[Errno 2] No such file or directory: '{tmp_path}/gone/ends'\n"
