#!/bin/sh
# Runs once as root inside the half-made base image, without network: finishes Debian, installs the wheels, removes the rest.
set -eu
export DEBIAN_FRONTEND=noninteractive PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1

echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/assay-base
/debootstrap/debootstrap --second-stage
rm /etc/dpkg/dpkg.cfg.d/assay-base

# An image is not a shared system: authors may `pip install` into it.
rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
pip install --no-index --find-links /assay-base/wheels --require-hashes -r /assay-base/requirements.txt

# Containers run as 65532:65532; a name for it keeps `pwd.getpwuid` and everything that calls it happy.
echo 'algorithm:x:65532:65532:algorithm:/tmp:/usr/sbin/nologin' >> /etc/passwd
echo 'algorithm:x:65532:' >> /etc/group

# No program in a sandbox may gain rights, so none is offered: su, mount, passwd and others lose their set-uid and set-gid bits.
find / -xdev -type f -perm /6000 -exec chmod a-s {} +

find /usr/local/lib -type d -name tests -prune -exec rm -rf {} +
rm -rf /assay-base /usr/share/doc /usr/share/man /usr/share/info /usr/share/locale /usr/share/i18n
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/* /root/.cache
