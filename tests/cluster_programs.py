"""Apptainer and Slurm for tests, on a machine that has neither: Debian's packages, installed once as root and kept.

Debian 12 has no Apptainer, so it comes from a Debian sid root of its own under `/var/cache/assay`. The program that tests call is a
script that enters this root in a mount namespace of its own and sees this machine's folders there. Nothing of the host is changed.
"""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

CACHE = Path("/var/cache/assay")
ROOT = CACHE / "apptainer-root"
PACKAGES = "ca-certificates,apptainer,squashfs-tools,fakeroot,uidmap"
BOOTSTRAP = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "sid"]
BY_HAND = f"sudo apt-get install debootstrap && sudo {' '.join(BOOTSTRAP)} {ROOT}"
ENTER = """#!/bin/sh
# Apptainer of the Debian root in R, with this machine's own folders.
exec unshare --mount --propagation private sh -e -c '
R={root}
mount --bind $R $R
cd $R
mkdir -p oldroot
touch etc/hosts
for folder in /*; do
  case $folder in /usr|/etc|/var|/bin|/sbin|/lib*|/oldroot|/lost+found) continue;; esac
  [ -d $folder ] && [ ! -L $folder ] || continue
  mkdir -p .$folder
  mount --rbind $folder .$folder
done
for folder in /var/lib/assay /var/tmp; do
  [ -d $folder ] || continue
  mkdir -p .$folder
  mount --rbind $folder .$folder
done
pivot_root . oldroot
umount -l /oldroot
exec {program} "$@"' sh "$@"
"""


def apptainer_program(folder: Path) -> Path:
    """A program that is Apptainer: the machine's own, or the one of the kept root. The root is made when there is none."""
    own = shutil.which("apptainer")
    return Path(own) if own else program_of_root(folder, "apptainer")


def program_of_root(folder: Path, name: str) -> Path:
    """A program of the kept root. It is a script in `folder`. Skips where the root cannot be made."""
    make_root()
    script = folder / name
    script.write_text(ENTER.format(root=ROOT, program=f"/usr/bin/{name}"))
    script.chmod(0o755)
    return script


def make_root() -> None:
    """Once, by whoever comes first."""
    if not (ROOT / "usr/bin/apptainer").exists() and os.geteuid() != 0:
        pytest.skip(f"needs Apptainer, or root to install it: {BY_HAND}")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "apptainer-root.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (ROOT / "usr/bin/apptainer").exists():
            return
        fresh = CACHE / "apptainer-root.new"
        shutil.rmtree(fresh, ignore_errors=True)
        if shutil.which("debootstrap") is None:
            subprocess.run(["apt-get", "install", "-y", "debootstrap"], check=False, capture_output=True)
        done = subprocess.run([*BOOTSTRAP, str(fresh)], check=False, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"Apptainer could not be installed ({done.stdout[-200:]!r}); by hand: {BY_HAND}")
        fresh.rename(ROOT)
