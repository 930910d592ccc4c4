"""A throw-away Slurm cluster on loopback: munged, slurmctld, slurmd for each node, and slurmdbd when asked for.

Everything belongs to the calling user (root or not), lies in one directory, and listens on ports of its own. Slurm 22.05
as Debian 12 packs it: several slurmd on one host are built in. Facts: https://slurm.schedmd.com/quickstart_admin.html
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

CONF = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={root}/munge/sock
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=5,{scheduler}
MaxJobCount=200000
MaxArraySize=20001
MinJobAge={min_job_age}
InactiveLimit=0
KillWait=2
SlurmctldTimeout=30
SlurmdTimeout={slurmd_timeout}
MessageTimeout=10
JobCompType=jobcomp/filetxt
JobCompLoc={root}/jobcomp.txt
SlurmdParameters=config_overrides
{accounting}
{nodes}
PartitionName=main Nodes=n[1-{count}] Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
PartitionName=short Nodes=n[1-{count}] MaxTime=10 State=UP OverSubscribe=NO
PartitionName=down Nodes=n[1-{count}] State=DOWN
"""
DBD = """\
AuthType=auth/munge
AuthInfo=socket={root}/munge/sock
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={dbd_port}
SlurmUser={user}
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={maria_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
LogFile={root}/log/slurmdbd.log
PidFile={root}/slurmdbd.pid
"""
PATIENCE_S = 30.0


class NotStarted(AssertionError):
    """A daemon did not come up; the text has the end of its log."""


def free_ports(count: int) -> list[int]:
    """Return so many ports of loopback that nobody listens on."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


class Slurm:
    """One cluster. `cpus` is what each node claims to have; `accounting` adds slurmdbd on a MariaDB of its own; the last node
    has one GPU (which is /dev/null) and the feature `special`, if that is named."""

    def __init__(
        self,
        *,
        nodes: int = 2,
        cpus: int = 4,
        accounting: bool = False,
        min_job_age: int = 300,
        slurmd_timeout: int = 30,
        scheduler: str = "sched_min_interval=50000",
        special: str = "",
    ) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.root.chmod(0o755)
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._accounting = accounting
        ports = free_ports(nodes + 3)
        self._values: dict[str, object] = {
            "root": self.root,
            "user": getpass.getuser(),
            "ctld_port": ports[0],
            "dbd_port": ports[1],
            "maria_port": ports[2],
            "count": nodes,
            "min_job_age": min_job_age,
            "slurmd_timeout": slurmd_timeout,
            "scheduler": scheduler,
            "accounting": "",
            "nodes": "\n".join(
                f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs={cpus} "
                f"RealMemory=8000 State=UNKNOWN"
                for name, port in zip(self.nodes, ports[3:], strict=True)
            ),
        }
        if special:
            self._values["nodes"] = f"GresTypes=gpu\n{self._values['nodes']} Gres=gpu:1 Feature={special}"
            (self.root / "gres.conf").write_text(f"NodeName={self.nodes[-1]} Name=gpu File=/dev/null\n")

    # what a client needs

    @property
    def environment(self) -> dict[str, str]:
        """Return what the commands of this cluster need in their environment."""
        return {"SLURM_CONF": str(self.root / "slurm.conf")}

    def run(self, *argv: str, check: bool = True) -> str:
        """Run a command of Slurm and return what it prints."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(argv)} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def completions(self) -> list[dict[str, str]]:
        """Return the lines of Slurm's own job completion log: JobId, Name, JobState and more."""
        path = self.root / "jobcomp.txt"
        if not path.exists():
            return []
        lines = path.read_text(errors="replace").splitlines()
        return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]

    # life

    def __enter__(self) -> "Slurm":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start every daemon and wait until all nodes are idle. Raises NotStarted."""
        for name in ("state", "log", "munge", *(f"spool/{node}" for node in self.nodes)):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.root / "munge").chmod(0o700)
        key = self.root / "munge/key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        self.start_munge()
        if self._accounting:
            self._prepare_accounting()
        (self.root / "slurm.conf").write_text(CONF.format(**self._values))
        if self._accounting:
            self.start_dbd()
            self._register_cluster()
        self.start_controller("-c")
        for node in self.nodes:
            self.start_node(node)
        wanted = f"idle {len(self.nodes)}"
        self._until(
            lambda: self.run("sinfo", "-h", "-p", "main", "-o", "%T %D", check=False).strip() == wanted, "nodes"
        )

    def start_munge(self) -> None:
        munge = self.root / "munge"
        places = [f"--{word}={munge}/{name}" for word, name in MUNGE_PLACES.items()]
        self._spawn("munged", "munged", "--foreground", "--force", "--num-threads=4", *places)
        self._until(lambda: (munge / "sock").exists(), "munged")

    def start_controller(self, *options: str) -> None:
        """Start slurmctld; without "-c" it goes on with what it had saved."""
        self._spawn("slurmctld", "slurmctld", "-D", *options)
        self._until(lambda: "UP" in self.run("scontrol", "ping", check=False), "slurmctld")

    def start_node(self, node: str) -> None:
        self._spawn(node, "slurmd", "-D", "-N", node)

    def start_dbd(self) -> None:
        self._spawn("slurmdbd", "slurmdbd", "-D")
        self._until(lambda: self._accounting_answers(), "slurmdbd")

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to one daemon: "slurmctld", "slurmdbd", "munged" or a node; SIGKILL waits for its end."""
        process = self.processes[name]
        process.send_signal(number)
        if number == signal.SIGKILL:
            process.wait()

    def restart(self, name: str) -> None:
        """Start a killed daemon again, as an administrator would: with the state that it has saved."""
        starts = {"slurmctld": self.start_controller, "slurmdbd": self.start_dbd, "munged": self.start_munge}
        starts.get(name, lambda: self.start_node(name))()
        self.resume()

    def resume(self) -> None:
        """Take nodes back that Slurm has drained because a slurmd died on them, as an administrator would."""
        for node in self.nodes:
            self.run("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)

    def stop(self) -> None:
        """End every job and daemon and remove the directory."""
        if "slurmctld" in self.processes and self.processes["slurmctld"].poll() is None:
            self.run("scancel", "--quiet", f"--user={getpass.getuser()}", check=False)
            self.run("scancel", "--quiet", "--signal=KILL", "--full", f"--user={getpass.getuser()}", check=False)
            self._settle()
        for name in (*self.nodes, "slurmctld", "slurmdbd", "mariadbd", "munged"):
            process = self.processes.get(name)
            if process is not None and process.poll() is None:
                process.kill() if name in self.nodes else process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self._kill_orphans()
        shutil.rmtree(self.root, ignore_errors=True)

    def _settle(self) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self.run("squeue", "-h", check=False).strip():
            time.sleep(0.05)

    def _kill_orphans(self) -> None:
        """Kill step daemons and jobs that outlived a killed slurmd: they carry this cluster's directory with them."""
        for _ in range(3):
            for pid in self._mine():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue

    def _mine(self) -> list[int]:
        mark = str(self.root / "slurm.conf").encode()
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                try:
                    if mark in Path(f"/proc/{name}/environ").read_bytes().split(b"\0SLURM_CONF=")[-1].split(b"\0")[0]:
                        found.append(int(name))
                except OSError:
                    continue
        return found

    # helpers

    def _spawn(self, name: str, *argv: str) -> None:
        with (self.root / f"log/{name}.out").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment, "PATH": f"{os.environ['PATH']}:/usr/sbin"},
                start_new_session=True,
            )

    def _until(self, holds: "object", what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():  # type: ignore[operator]
            if time.monotonic() > deadline:
                logs = "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in (self.root / "log").iterdir())
                raise NotStarted(f"{what} did not come up\n{logs}")
            time.sleep(0.03)

    # accounting

    def _prepare_accounting(self) -> None:
        maria = self.root / "maria"
        install = [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={maria}",
            "--auth-root-authentication-method=normal",
        ]
        who = getpass.getuser()
        subprocess.run([*install, "--skip-test-db", f"--user={who}"], capture_output=True, check=True)
        self._spawn(
            "mariadbd",
            "mariadbd",
            "--no-defaults",
            f"--user={who}",
            f"--datadir={maria}",
            f"--socket={self.root}/m.sock",
            f"--port={self._values['maria_port']}",
            "--bind-address=127.0.0.1",
            "--innodb-buffer-pool-size=64M",
            "--innodb-log-file-size=32M",
            "--innodb-lock-wait-timeout=900",
            "--skip-name-resolve",
        )
        self._until(lambda: self._sql("SELECT 1"), "mariadbd")
        assert self._sql(
            "CREATE DATABASE slurm_acct; CREATE USER slurm@'127.0.0.1' IDENTIFIED BY 'slurm'; "
            "GRANT ALL ON slurm_acct.* TO slurm@'127.0.0.1'"
        )
        dbd = self.root / "slurmdbd.conf"
        dbd.write_text(DBD.format(**self._values))
        dbd.chmod(0o600)
        self._values["accounting"] = (
            "AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=127.0.0.1\n"
            f"AccountingStoragePort={self._values['dbd_port']}\nAccountingStoragePass={self.root}/munge/sock"
        )

    def _sql(self, text: str) -> bool:
        argv = ["mariadb", "--no-defaults", "-S", f"{self.root}/m.sock", "-u", "root", "-e", text]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0

    def _accounting_answers(self) -> bool:
        return "Cluster" in self.run("sacctmgr", "show", "cluster", "-P", check=False)

    def _register_cluster(self) -> None:
        for words in (
            ("cluster", "test"),
            ("account", "physics"),
            ("user", getpass.getuser(), "account=physics"),
        ):
            self.run("sacctmgr", "-i", "add", *words, check=False)


MUNGE_PLACES = {
    "socket": "sock",
    "key-file": "key",
    "pid-file": "pid",
    "log-file": "log",
    "seed-file": "seed",
}
