"""Look for any way out: names, the metadata service, the engine's bridge, sockets of the host."""

import errno, os, socket
from pathlib import Path


def answers(family, address):
    with socket.socket(family) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect(address)
        except OSError as error:
            return family != socket.AF_UNIX and error.errno == errno.ECONNREFUSED
        return True


def resolves(name):
    try:
        socket.getaddrinfo(name, 80)
    except OSError:
        return False
    return True


ways = {
    "metadata": answers(socket.AF_INET, ("169.254.169.254", 80)),
    "bridge": answers(socket.AF_INET, ("172.17.0.1", 9)),
    "internet": answers(socket.AF_INET, ("192.0.2.1", 443)),
    "ipv6": answers(socket.AF_INET6, ("2001:db8::1", 443)),
    "engine": answers(socket.AF_UNIX, "/var/run/docker.sock"),
    "abstract": answers(socket.AF_UNIX, "\0/containerd-shim/probe.sock"),
    "name": resolves("example.org"),
    "interfaces": set(os.listdir("/sys/class/net")) != {"lo"},
}
Path("/output/result.txt").write_text("escaped" if any(ways.values()) else "held")
