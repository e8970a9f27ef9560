"""Learn which host this is and what else it does, from what the kernel tells everybody."""

from pathlib import Path

PLACES = (
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/diskstats",
    "/proc/interrupts",
    "/proc/softirqs",
    "/proc/partitions",
    "/proc/locks",
    "/proc/vmstat",
    "/proc/zoneinfo",
    "/proc/swaps",
    "/proc/schedstat",
    "/proc/pressure/memory",
    "/proc/sys/kernel/random/boot_id",
    "/sys/devices/virtual/dmi/id/product_name",
)


def tells(place):
    try:
        return bool(Path(place).read_bytes())
    except OSError:
        return False


found = [place for place in PLACES if tells(place)]
print(found)
Path("/output/result.txt").write_text("escaped" if found else "held")
