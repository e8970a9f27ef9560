"""The system calls a submission may make: all that Linux 6.1 has on x86-64 and arm64, without those listed here.

An allow-list written as its complement: `syscalls.txt` names every call in the kernel's headers, `DENIED` says what is
taken away, by why. Whatever is in neither (calls of later kernels, 32-bit calls on a 64-bit host) is refused. Tighter
than the default of the engines of 2023, which allows io_uring and ptrace, and the same whichever engine runs it.

Sockets are AF_UNIX only. What waits in the buffers of AF_INET, AF_INET6 and AF_NETLINK sockets is the kernel's memory, and a
container without a network can still fill it through its own loopback. cgroup v1 does not count it: a program limited to 64 MiB kept
400 MiB with the verdict `ok`, and `memory.kmem.tcp.limit_in_bytes` did not stop it. cgroup v2 counts AF_INET and AF_INET6, and
neither counts AF_NETLINK. The profile `loopback` opens what a framework needs to talk to itself.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any

DENIED = {
    "namespaces and mounts": "unshare setns mount umount umount2 pivot_root chroot mount_setattr move_mount open_tree"
    " fsopen fsconfig fsmount fspick open_by_handle_at",
    "the kernel itself": "bpf perf_event_open init_module finit_module delete_module create_module get_kernel_syms"
    " query_module kexec_load kexec_file_load reboot swapon swapoff syslog iopl ioperm modify_ldt acct quotactl quotactl_fd"
    " nfsservctl uselib _sysctl sysfs lookup_dcookie vhangup fanotify_init userfaultfd",
    "the host's clock and name": "settimeofday clock_settime sethostname setdomainname",
    "keyrings, which are not namespaced": "add_key request_key keyctl",
    "other processes": "ptrace kcmp pidfd_getfd process_madvise",
    "a second way to every system call": "io_uring_setup io_uring_enter io_uring_register",
    "memory placement on other nodes": "mbind set_mempolicy set_mempolicy_home_node get_mempolicy migrate_pages"
    " move_pages",
    "never implemented": "afs_syscall getpmsg putpmsg security tuxcall vserver epoll_ctl_old epoll_wait_old",
    "allowed below with conditions": "clone clone3 socket personality",
}
NEW_NAMESPACE_FLAGS = 0x7E020000
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
NETLINK_ROUTE = 0
"""The one kind of netlink that lists network interfaces (`getifaddrs`), which NCCL and Gloo ask for before they use loopback."""
FAMILY_NOT_SUPPORTED = 97
"""What a refused family answers: as on a kernel built without it, so that libraries go on without it."""
NOT_IMPLEMENTED = 38
"""What clone3 answers: its flags lie in memory, where a filter cannot look. C libraries fall back to clone."""


def _argument(value: int, *, mask: int | None = None, index: int = 0) -> dict[str, Any]:
    if mask is not None:
        return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}


def _socket_rules(*, has_loopback: bool) -> list[dict[str, Any]]:
    """Which sockets may be made: AF_UNIX, and with loopback also AF_INET, AF_INET6 and the list of interfaces."""
    allow = {"names": ["socket"], "action": "SCMP_ACT_ALLOW"}
    refuse = {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": FAMILY_NOT_SUPPORTED}
    unix = {**allow, "args": [_argument(AF_UNIX)]}
    if not has_loopback:
        return [unix, *({**refuse, "args": [_argument(family)]} for family in (AF_INET, AF_INET6, AF_NETLINK))]
    netlink = {**allow, "args": [_argument(AF_NETLINK), _argument(NETLINK_ROUTE, index=2)]}
    return [unix, *({**allow, "args": [_argument(family)]} for family in (AF_INET, AF_INET6)), netlink]


def denied_calls() -> frozenset[str]:
    """Every call named in `DENIED`."""
    return frozenset(name for names in DENIED.values() for name in names.split())


@cache
def seccomp_profile(*, has_loopback: bool = False) -> str:
    """The profile as the engine's API takes it: a JSON text."""
    known = files("containers.sandbox").joinpath("syscalls.txt").read_text(encoding="ascii").split()
    allowed = sorted(set(known) - denied_calls())
    allow = "SCMP_ACT_ALLOW"
    personalities = (0, 8, 0x20000, 0xFFFFFFFF)
    rules: list[dict[str, Any]] = [
        {"names": allowed, "action": allow},
        {"names": ["clone"], "action": allow, "args": [_argument(0, mask=NEW_NAMESPACE_FLAGS)]},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": NOT_IMPLEMENTED},
        *_socket_rules(has_loopback=has_loopback),
        *({"names": ["personality"], "action": allow, "args": [_argument(kind)]} for kind in personalities),
    ]
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": []},
        ],
        "syscalls": rules,
    }
    return json.dumps(profile, separators=(",", ":"))
