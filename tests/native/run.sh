#!/bin/sh
# Builds and runs the native tests of csrc/: on this machine, without SIMD, with AVX-512 emulated by SIMDe, and for 64-bit Arm
# under qemu-user. Debian packages: g++ libsimde-dev g++-aarch64-linux-gnu qemu-user.
# The tables of multi-index hashing have no kernel for AVX-512 or NEON, so that their test runs natively alone.
# Usage: run.sh [native] [portable] [emulated] [arm]     (all of them when none is named)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT_DIR:-$(mktemp -d)}
flags="-std=c++20 -Wall -Wextra -Werror -pthread"
engine="isa threads hamming hamming_cost hamming_rows hamming_hits hamming_tile hamming_portable hamming_avx2 hamming_avx512 hamming_neon mih mih_build mih_verify"
tests="hamming_test mih_test"

# build <name> <compiler> <flags...>: one object a source, side by side.
build() {
    name=$1 compiler=$2
    shift 2
    mkdir -p "$out/$name"
    jobs=""
    objects=""
    for unit in $engine; do
        $compiler $flags "$@" -c "$here/../../csrc/$unit.cpp" -o "$out/$name/$unit.o" &
        jobs="$jobs $!" objects="$objects $out/$name/$unit.o"
    done
    for test in $tests; do
        $compiler $flags "$@" -c "$here/$test.cpp" -o "$out/$name/$test.o" &
        jobs="$jobs $!"
    done
    for job in $jobs; do wait "$job"; done
    for test in $tests; do $compiler $flags "$@" "$out/$name/$test.o" $objects -o "$out/$name/$test"; done
}

for what in ${*:-native portable emulated arm}; do
    case $what in
        native) build native "${CXX:-g++}" -O3; "$out/native/hamming_test" thorough; "$out/native/mih_test" ;;
        portable) build portable "${CXX:-g++}" -O2 -DSDC_SEARCH_PORTABLE_ONLY; "$out/portable/hamming_test"; "$out/portable/mih_test" quick ;;
        # SIMDe's own headers warn.
        emulated) build emulated "${CXX:-g++}" -O1 -mavx2 -mbmi2 -mpopcnt -DSDC_SEARCH_EMULATE_SIMD -Wno-error -w; "$out/emulated/hamming_test" ;;
        arm) build arm aarch64-linux-gnu-g++ -O2 -static; qemu-aarch64 "$out/arm/hamming_test" no-fork ;;
        *) echo "unknown: $what" >&2; exit 2 ;;
    esac
done
