#!/usr/bin/env bash
# A second opinion on the image: Wine's loader maps it, relocates it, binds its imports and enters DriverEntry.
#
# Wine has none of NDIS's filter functions, nor ExAllocatePool2 (as of version 8), so the driver ends at its first
# call of such a function. That call is the proof that DriverEntry ran, and all that this script looks for.
# Debian packages: wine, wine64. Usage: tests/image/wine.sh, after cargo image.
set -euo pipefail

image=$(dirname "$0")/../../target/x86_64-pc-windows-msvc/release/lbfoext.sys
[ -f "$image" ] || { echo "build the image first: cargo image" >&2; exit 1; }
wine=$(command -v wine || command -v /usr/lib/wine/wine64) || { echo "Wine is missing: apt-get install wine wine64" >&2; exit 1; }

WINEPREFIX=$(mktemp -d)
log=$WINEPREFIX/log
trap 'wineserver -k || true; rm -rf "$WINEPREFIX"' EXIT
export WINEPREFIX WINEARCH=win64 WINEDEBUG=-all
unset DISPLAY

"$wine" wineboot -i >"$log" 2>&1
cp "$image" "$WINEPREFIX/drive_c/windows/system32/drivers/"
"$wine" sc create lbfoext type= kernel binPath= 'C:\windows\system32\drivers\lbfoext.sys' >>"$log" 2>&1
wineserver -k || true   # the service manager shall start again, with the messages asked for below
WINEDEBUG=err+all,warn+module,trace+ntoskrnl timeout 120 "$wine" sc start lbfoext >"$log" 2>&1 || true

loaded=$(grep -c 'ldr_notify_callback loading L"lbfoext.sys"' "$log" || true)
bound=$(grep -c 'No implementation for .* imported from .*lbfoext.sys' "$log" || true)
called=$(grep -om1 'unimplemented function [a-z]*\.[a-z]*\.[A-Za-z0-9]*' "$log" || true)
"$wine" --version
echo "loaded $loaded time(s); $bound imports unknown to Wine; stopped at: ${called:-nothing}"
# The function has to be one that the image imports: Wine's own parts may lack others.
[ "$loaded" -ge 1 ] && [ -n "$called" ] &&
    grep -q "No implementation for ${called#unimplemented function } imported from .*lbfoext.sys" "$log" &&
    echo "DriverEntry was entered"
