"""Ask the kernel for what no segmentation needs."""

import ctypes, errno

libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(256)
CALLS = {
    "unshare(user)": (272, 0x10000000),
    "mount": (165, b"none", b"/tmp", b"tmpfs", 0, None),
    "syslog": (103, 3, buffer, 256),
    "keyctl": (250, 0, -3, 1),
    "add_key": (248, b"user", b"k", b"v", 1, -3),
    "ptrace(traceme)": (101, 0, 0, 0, 0),
    "bpf": (321, 0, buffer, 128),
    "io_uring_setup": (425, 4, buffer),
    "userfaultfd": (323, 0),
    "perf_event_open": (298, buffer, 0, -1, -1, 0),
    "clone3": (435, buffer, 64),
    "socket(AF_ALG)": (41, 38, 5, 0),
    "socket(AF_VSOCK)": (41, 40, 1, 0),
    "chroot": (161, b"/tmp"),
    "kexec_load": (246, 0, 0, None, 0),
}
result = open("/output/result.txt", "w")  # some of these calls would take the path away
refused = (errno.EPERM, errno.EACCES, errno.ENOSYS)
passed = []
for name, (number, *arguments) in CALLS.items():
    ctypes.set_errno(0)
    if libc.syscall(number, *arguments) >= 0 or ctypes.get_errno() not in refused:
        passed.append(name)
print(passed)
result.write("escaped" if passed else "held")
result.close()
