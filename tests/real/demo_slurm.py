"""The demonstration on a throw-away Slurm cluster that is reached over SSH: `make demo-slurm`.

munged, slurmctld, two slurmd and an sshd run for as long as it takes; both sites of the demonstration submit to that cluster
over one connection.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from services.demo.options import DemoOptions
from services.demo.run import run_demo
from tests.real.slurm import Slurm
from tests.real.sshd import Sshd

TABLES = """\
[hosts.login]
address = "127.0.0.1"
port = {port}
user = "{user}"
identity_files = [{identity}]
known_hosts = {known_hosts}
ssh_config = "/dev/null"
calls_per_hour = 36000
"""
TARGET = """\
[sites.{site}.targets.{site}-slurm]
kind = "slurm"
host = "login"
directory = {directory}
partition = "main"
command_environment = {{ SLURM_CONF = {conf} }}
evidence_s = 5.0
poll_s = 1.0
limits = {{ processing = 4, merge = 2 }}
"""


def tables(cluster: Slurm, sshd: Sshd, directory: Path) -> str:
    """Return the tables of an agent's configuration that lead to this cluster."""
    reached = sshd.host()
    login = TABLES.format(
        port=sshd.port,
        user=reached.user,
        identity=json.dumps(str(sshd.identity)),
        known_hosts=json.dumps(str(sshd.known_hosts)),
    )
    conf = json.dumps(cluster.environment["SLURM_CONF"])
    targets = [
        TARGET.format(site=site, directory=json.dumps(str(directory / f"site-{site}")), conf=conf)
        for site in ("alpha", "beta")
    ]
    return "\n".join([login, *targets])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--example", choices=("zmumu", "plain"), default="zmumu")
    parser.add_argument("--directory", type=Path, default=Path("demo-run"))
    parser.add_argument("--chaos", action="store_true")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="demo-slurm-") as name, Slurm(nodes=2, cpus=2) as cluster:
        directory = Path(name)
        with Sshd(directory / "ssh") as sshd:
            file = directory / "targets.toml"
            file.write_text(tables(cluster, sshd, directory))
            code = run_demo(DemoOptions(**vars(options), targets=file))
            log = cluster.completions()
            ended = sum(line.get("JobState") == "COMPLETED" for line in log)
            print(f"Slurm's own log: {len(log)} jobs, {ended} of them completed; SSH connections: {sshd.accepted()}")
    sys.exit(code)


if __name__ == "__main__":
    main()
