"""What OpenSSH's own programs are told so that they reach a host as our connection does."""

import os
import shlex
from collections.abc import Mapping

from config.site_settings import Host


def options(name: str, hosts: Mapping[str, Host]) -> list[str]:
    """Return the options of ssh, scp and sftp for a host, its jump hosts included; nobody is ever asked for anything."""
    host = hosts[name]
    set_ = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "ConnectTimeout": str(max(1, round(host.connect_s))),
        "ServerAliveInterval": str(max(1, round(host.keepalive_s))),
        "ServerAliveCountMax": str(host.keepalive_tries),
        "Ciphers": "^aes128-gcm@openssh.com",
        "Hostname": host.address,
        "Port": host.port,
        "User": host.user,
        "UserKnownHostsFile": host.known_hosts,
        "GlobalKnownHostsFile": "none" if host.known_hosts else None,
        "IdentitiesOnly": "yes" if host.identity_files else None,
    }
    words = ["-F", host.ssh_config] if host.ssh_config else []
    for key, value in set_.items():
        words += ["-o", f"{key}={value}"] if value is not None else []
    for path in host.identity_files:
        words += ["-o", f"IdentityFile={os.path.expanduser(path)}"]
    if host.jump is not None:
        way = ["ssh", *options(host.jump, hosts), "-W", "[%h]:%p", host.jump]
        words += ["-o", f"ProxyCommand={shlex.join(way)}"]
    return words
