"""A throw-away Grid Engine cell on loopback: sge_qmaster and one sge_execd, of Debian's packages.

Everything belongs to the calling user (root or not), lies in one directory that is SGE_ROOT, and listens on ports of its own.
Facts: https://gridscheduler.sourceforge.net/htmlman/manuals.html, the scripts of the package gridengine-master.
"""

import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.real.daemon import UP_S, free_port

PROGRAMS, SHARE = Path("/usr/lib/gridengine"), Path("/usr/share/gridengine")
ARCH = "lx-amd64"

BOOTSTRAP = """\
admin_user {admin}
default_domain none
ignore_fqdn false
spooling_method classic
spooling_lib libspoolc
spooling_params {common};{root}/qmaster
binary_path {programs}
qmaster_spool_dir {root}/qmaster
security_mode none
listener_threads 1
worker_threads 1
scheduler_threads 1
"""
CONFIGURATION = {
    "execd_spool_dir": "{root}/execd",
    "min_uid": "0",
    "min_gid": "0",
    "mailer": "/bin/true",
    "load_report_time": "00:00:01",
}
SCHEDULER = {
    "schedule_interval": "0:0:1",
    "flush_submit_sec": "1",
    "flush_finish_sec": "1",
    "job_load_adjustments": "NONE",
}
HOST = "hostname localhost\nload_scaling NONE\ncomplex_values NONE\n" + "".join(
    f"{name} NONE\n"
    for name in ("user_lists", "xuser_lists", "projects", "xprojects", "usage_scaling", "report_variables")
)
CORES = """\
pe_name cores
slots 999
user_lists NONE
xuser_lists NONE
start_proc_args NONE
stop_proc_args NONE
allocation_rule $pe_slots
control_slaves FALSE
job_is_first_task TRUE
urgency_slots min
accounting_summary FALSE
qsort_args NONE
"""
LIMITS = ("rt", "cpu", "fsize", "data", "stack", "core", "rss", "vmem")
QUEUE = {
    "qname": "main",
    "hostlist": "localhost",
    "seq_no": "0",
    "nsuspend": "1",
    "suspend_interval": "00:05:00",
    "priority": "0",
    "min_cpu_interval": "00:05:00",
    "processors": "UNDEFINED",
    "qtype": "BATCH",
    "pe_list": "cores",
    "rerun": "FALSE",
    "slots": "{slots}",
    "tmpdir": "/tmp",
    "shell": "/bin/sh",
    "shell_start_mode": "unix_behavior",
    "notify": "00:00:05",
    "initial_state": "default",
    **dict.fromkeys(("load_thresholds", "suspend_thresholds", "ckpt_list", "prolog", "epilog"), "NONE"),
    **dict.fromkeys(("starter_method", "suspend_method", "resume_method", "terminate_method"), "NONE"),
    **dict.fromkeys(("owner_list", "user_lists", "xuser_lists", "subordinate_list"), "NONE"),
    **dict.fromkeys(("complex_values", "projects", "xprojects", "calendar"), "NONE"),
    **{f"{kind}_{name}": "INFINITY" for kind in "sh" for name in LIMITS},
    "h_rt": "48:00:00",
}


class GridEngine:
    """One cell with one queue, main, of so many slots."""

    def __init__(self, slots: int = 2) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="gridengine-", dir="/tmp"))
        self.root.chmod(0o755)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._slots = slots
        self._ports = free_port(), free_port()

    @property
    def environment(self) -> dict[str, str]:
        """Return what the commands of this cell need in their environment."""
        qmaster, execd = map(str, self._ports)
        return {
            "SGE_ROOT": str(self.root),
            "SGE_CELL": "default",
            "SGE_ARCH": ARCH,
            "SGE_QMASTER_PORT": qmaster,
            "SGE_EXECD_PORT": execd,
        }

    def run(self, *argv: str, check: bool = True) -> str:
        """Run a command of Grid Engine and return what it prints."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=UP_S)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(argv)} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    # life

    def __enter__(self) -> "GridEngine":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start both daemons and wait until the node reports."""
        assert PROGRAMS.exists(), "no Grid Engine on this machine: sh .ci/system installs gridengine-master"
        self._lay_out()
        self.start_qmaster()
        self._declare()
        self.start_execd()
        self._until(lambda: not re.search(r"^localhost .* - +- +-$|-NA-", self.run("qstat", "-f")), "sge_execd")

    def start_qmaster(self) -> None:
        """Start sge_qmaster; it goes on with what it had saved."""
        self._spawn("sge_qmaster")
        self._until(lambda: "localhost" in self.run("qconf", "-sh", check=False), "sge_qmaster")

    def start_execd(self) -> None:
        self._spawn("sge_execd")

    def kill(self, name: str) -> None:
        """Kill one daemon, "sge_qmaster" or "sge_execd", and wait for its end; jobs go on."""
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes.pop(name).wait()

    def stop(self) -> None:
        """End every job and daemon and remove the directory."""
        if "sge_qmaster" in self.processes:
            self.run("qdel", "-u", getpass.getuser(), check=False)
            self._until(lambda: not self.run("qstat", check=False).strip(), "the end of all jobs")
        for name in list(self.processes):
            self.kill(name)
        shutil.rmtree(self.root, ignore_errors=True)

    # the parts

    def _lay_out(self) -> None:
        common = self.root / "default/common"
        for directory in (common, self.root / "qmaster/job_scripts", self.root / "execd"):
            directory.mkdir(parents=True)
        (self.root / "util").symlink_to(SHARE / "util")
        for name in ("bin", "lib", "utilbin"):
            (self.root / name).mkdir()
            (self.root / name / ARCH).symlink_to(PROGRAMS)
        admin = "none" if os.getuid() == 0 else getpass.getuser()
        words = {"admin": admin, "common": common, "root": self.root, "programs": PROGRAMS}
        (common / "bootstrap").write_text(BOOTSTRAP.format(**words))
        (common / "act_qmaster").write_text("localhost\n")
        (common / "host_aliases").write_text(f"localhost {socket.gethostname()}\n")
        spool = str(PROGRAMS / "spoolinit"), str(PROGRAMS / "spooldefaults")
        self.run(spool[0], "classic", "libspoolc", f"{common};{self.root}/qmaster", "init")
        self.run(spool[1], "configuration", self._changed((SHARE / "default-configuration").read_text(), CONFIGURATION))
        self.run(spool[1], "complexes", str(SHARE / "util/resources/centry"))
        self.run(spool[1], "usersets", str(SHARE / "util/resources/usersets"))
        self.run(spool[1], "managers", getpass.getuser())

    def _declare(self) -> None:
        self.run("qconf", "-Msconf", self._changed(self.run("qconf", "-ssconf"), SCHEDULER))
        self.run("qconf", "-as", "localhost")
        self.run("qconf", "-Ae", self._changed(HOST, {}))
        self.run("qconf", "-Ap", self._changed(CORES, {}))
        self.run("qconf", "-Aq", self._changed("".join(f"{name} -\n" for name in QUEUE), QUEUE))

    def _changed(self, text: str, values: dict[str, str]) -> str:
        """Write a file with other values of some names; return its path."""
        for name, value in values.items():
            filled = value.format(root=self.root, slots=self._slots)
            text = re.sub(rf"^{name}\s.*$", f"{name} {filled}", text, flags=re.MULTILINE)
        path = self.root / "declared"
        path.write_text(text)
        return str(path)

    def _spawn(self, name: str) -> None:
        environment = {**os.environ, **self.environment, "SGE_ND": "1"}  # do not leave the foreground
        with (self.root / f"{name}.out").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [PROGRAMS / name], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + UP_S
        while not holds():
            logs = "".join(path.read_text()[-1500:] for path in self.root.glob("*.out"))
            assert time.monotonic() < deadline, f"{what} did not come\n{logs}"
            time.sleep(0.05)
