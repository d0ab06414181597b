#!/bin/sh
# `cmake --install`, then the examples built outside the tree: through CMake's package and through pkg-config, shared and static.
#
#   install.sh ROOT CARGO-TARGET-DIRECTORY SCRATCH
set -eu
root=$1 target=$2 scratch=$3
rm -rf "$scratch"
mkdir -p "$scratch/outside" "$scratch/build"

cmake -S "$root/bindings/c" -B "$scratch/build" -DCMAKE_INSTALL_PREFIX="$scratch/first" \
  -DCMAKE_INSTALL_LIBDIR=lib -DCMKIT_CARGO_TARGET_DIR="$target"
cmake --build "$scratch/build"
cmake --install "$scratch/build"
# It may be moved.
mv "$scratch/first" "$scratch/prefix"
prefix=$scratch/prefix

version=$(sed -n 's/^Version: //p' "$prefix/lib/pkgconfig/cmkit.pc")
[ "$(readlink "$prefix/lib/libcmkit.so")" = libcmkit.so.0.1 ]
[ "$(readlink "$prefix/lib/libcmkit.so.0.1")" = "libcmkit.so.$version" ]
[ -x "$prefix/lib/libcmkit.so.$version" ]
for file in include/cmkit.h include/cmkit.hpp include/cmkit_scratch.hpp lib/libcmkit.a; do
  [ -s "$prefix/$file" ]
done

# Where the sources of cmkit are not.
cp -r "$root/tests/c/outside/CMakeLists.txt" "$root/examples/c" "$root/examples/cpp" "$scratch/outside"
cd "$scratch/outside"

run() {
  rm -rf "$scratch/keys"
  [ "$("$@" "$scratch/keys")" = 'attack at dawn' ]
  echo "ok: $1"
}

cmake -S . -B build -DEXAMPLES="$PWD" -DCMAKE_PREFIX_PATH="$prefix"
cmake --build build
run build/shared_c
run build/static_c
run build/shared_cpp
if ldd build/static_c | grep -q cmkit; then
  echo "the static example needs the shared library" >&2
  exit 1
fi
ldd build/shared_c | grep -q 'libcmkit\.so\.0\.1 => .*prefix'

PKG_CONFIG_PATH=$prefix/lib/pkgconfig
export PKG_CONFIG_PATH
pkg-config --exact-version="$version" cmkit
# shellcheck disable=SC2046
cc -std=c11 c/encrypt.c $(pkg-config --cflags --libs cmkit) -o with_pkg_config
run env LD_LIBRARY_PATH="$prefix/lib" ./with_pkg_config
# shellcheck disable=SC2046
c++ -std=c++17 cpp/encrypt.cpp $(pkg-config --cflags --libs cmkit) -Wl,-rpath,"$(pkg-config --variable=libdir cmkit)" -o cpp_with_pkg_config
run ./cpp_with_pkg_config
# shellcheck disable=SC2046
cc -std=c11 c/encrypt.c $(pkg-config --cflags cmkit) "$(pkg-config --variable=libdir cmkit)/libcmkit.a" \
  $(pkg-config --static --libs-only-l cmkit | sed 's/-lcmkit//') -pthread -o static_with_pkg_config
run ./static_with_pkg_config
