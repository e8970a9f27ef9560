"""The system calls a submission may make: all that Linux 6.1 has on x86-64 and arm64, without those listed here.

An allow-list written as its complement: `syscalls.txt` names every call in the kernel's headers, `DENIED` says what is
taken away, by why; whatever is in neither (calls of later kernels, 32-bit calls on a 64-bit host) is refused. Tighter
than the default of the engines of 2023, which allows io_uring and ptrace, and the same whichever engine runs it.
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
NOT_IMPLEMENTED = 38
"""What clone3 answers: its flags lie in memory, where a filter cannot look; C libraries fall back to clone."""


def _argument(value: int, *, mask: int | None = None) -> dict[str, Any]:
    if mask is not None:
        return {"index": 0, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
    return {"index": 0, "value": value, "op": "SCMP_CMP_EQ"}


def denied_calls() -> frozenset[str]:
    """Every call named in `DENIED`."""
    return frozenset(name for names in DENIED.values() for name in names.split())


@cache
def seccomp_profile() -> str:
    """The profile as the engine's API takes it: a JSON text."""
    known = files("containers.sandbox").joinpath("syscalls.txt").read_text(encoding="ascii").split()
    allowed = sorted(set(known) - denied_calls())
    allow = "SCMP_ACT_ALLOW"
    families = (AF_UNIX, AF_INET, AF_INET6, AF_NETLINK)
    personalities = (0, 8, 0x20000, 0xFFFFFFFF)
    rules: list[dict[str, Any]] = [
        {"names": allowed, "action": allow},
        {"names": ["clone"], "action": allow, "args": [_argument(0, mask=NEW_NAMESPACE_FLAGS)]},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": NOT_IMPLEMENTED},
        *({"names": ["socket"], "action": allow, "args": [_argument(family)]} for family in families),
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
