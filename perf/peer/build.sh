#!/bin/bash
# Builds dpdk_bond into the directory that is named, against DPDK's static libraries, so that what is measured is inlined as
# in a real application. On Debian: apt-get install libdpdk-dev pkg-config gcc
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?name a directory}
libraries=$(pkg-config --variable=libdir libdpdk)
archives=()
for name in net_bond net_null net_ring bus_vdev mempool_ring ethdev eal mempool mbuf ring net kvargs telemetry hash sched \
    ip_frag meter rcu security cryptodev timer pci bus_pci; do
  if [ -f "$libraries/librte_$name.a" ]; then archives+=("$libraries/librte_$name.a"); fi
done
mkdir -p "$out"
read -ra flags <<<"$(pkg-config --cflags libdpdk | sed 's/-march=[^ ]*//')"
gcc -O3 -march=native -w "${flags[@]}" "$here/dpdk_bond.c" -o "$out/dpdk_bond" \
  -Wl,--whole-archive "${archives[@]}" -Wl,--no-whole-archive \
  -lnuma -lpthread -ldl -lm -lrt -lbsd -lelf -lfdt -ljansson -lcrypto -lz
echo "$out/dpdk_bond"
