#!/bin/sh
# What the shared library exports is what the header declares, and its name is what programs will look for.
#
#   symbols.sh LIBRARY HEADER
set -eu
library=$1 header=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

nm -D --defined-only "$library" | awk '{print $NF}' | sed 's/@.*//' | sort >"$scratch/exported"
sed -n 's/^[a-z][^#(]*[ *]\(cmk_[a-z0-9_]*\)(.*/\1/p' "$header" | sort >"$scratch/declared"
[ -s "$scratch/declared" ]
diff -u "$scratch/declared" "$scratch/exported"

objdump -p "$library" | grep -q 'SONAME *libcmkit\.so\.0\.1$'
