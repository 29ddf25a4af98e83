#!/bin/bash
# Makes what `run.ts` boots, in an empty directory: kernel, and system.cpio, a small Debian with the policy.
#
#   machine.sh DIRECTORY
#
# Wants mmdebstrap, secilc and cpio, and a mirror of Debian. Nothing of the packages is run.
set -euo pipefail
here=$(realpath "$(dirname "$0")")
cd "$1"
mmdebstrap --quiet --variant=extract --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
  --include=bash,dash,coreutils,findutils,grep,sed,util-linux,mount,selinux-utils,libgcc-s1,busybox-static \
  --include=linux-image-cloud-amd64 bookworm root
mkdir -p root/{dev,proc,sys,root,machine}
mv root/boot/vmlinuz-* kernel
find root/usr/lib/modules -name overlay.ko -exec mv {} root/machine/ ';'
rm -rf root/boot root/usr/lib/{modules,udev,systemd} root/usr/share/{doc,man,locale,info} root/var/{lib,cache}
echo 'root:x:0:0:root:/root:/bin/bash' >root/etc/passwd
echo 'root:x:0:' >root/etc/group
secilc --policyvers=33 --output=root/machine/policy --filecontext=/dev/null "$here/policy.cil"
install -m 755 "$here/init.sh" root/init
(cd root && find . -print0 | cpio --null --create --quiet --format=newc --owner=0:0) >system.cpio
rm -rf root
