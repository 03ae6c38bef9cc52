#!/bin/busybox sh
# The first process of a virtual machine: makes it look like a host, runs /vm/run, powers off.
# xtask watches the console for the line "dropwatch-vm: end STATUS".
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
# The kernel may have mounted it already.
$bb mount -t devtmpfs devtmpfs /dev 2>/dev/null
$bb mkdir -p /dev/pts /dev/shm
$bb mount -t devpts devpts /dev/pts
$bb mount -t tmpfs tmpfs /dev/shm
$bb mount -t tmpfs tmpfs /run
$bb mount -t tmpfs tmpfs /tmp
$bb mount -t tracefs tracefs /sys/kernel/tracing
$bb mount -t bpf bpf /sys/fs/bpf
$bb mount -t cgroup2 cgroup2 /sys/fs/cgroup
# Mount points must be shared for `ip netns`, as they are on a host with an init system.
$bb mount --make-rshared /
$bb ln -sf /proc/self/fd /dev/fd
$bb mkdir -p /run/netns /run/lock
# Real tools first; busybox serves only the names that no real tool has.
export PATH=/usr/sbin:/usr/bin:/usr/lib/busybox HOME=/root TERM=linux
# Named in full: this shell, busybox's, prefers its own applets whatever PATH says.
/usr/sbin/ip link set lo up
$bb hostname dropwatch-vm
# Results are bytes, not a terminal's text. Which port they go to is on the kernel's command line.
$bb stty -F "$RESULTS" raw -echo 2>/dev/null
echo "dropwatch-vm: start $($bb uname -r), up $($bb cut -d' ' -f1 /proc/uptime) s"
/bin/sh /vm/run
echo "dropwatch-vm: end $?"
$bb poweroff -f
