#!/bin/sh
# Configures the build as SDC_SEARCH_CUDA and the compiler of CUDA may stand: AUTO must never fail, and must say in one
# line why it leaves the kernels out; ON must fail with the reason.
# Usage: cuda_build.sh <further arguments of cmake ...>
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A compiler that fails, and one that says it compiled and wrote nothing.
mkdir "$work/failing" "$work/idle"
printf '#!/bin/sh\necho "no licence" >&2\nexit 3\n' >"$work/failing/nvcc"
printf '#!/bin/sh\nexit 0\n' >"$work/idle/nvcc"
chmod +x "$work/failing/nvcc" "$work/idle/nvcc"

# configure <yes|no: succeeds> <text of its output> <arguments ...>
configure() {
    wanted=$1 text=$2
    shift 2
    rm -rf "$work/build"
    if cmake -S "$here/../.." -B "$work/build" "$@" >"$work/log" 2>&1; then got=yes; else got=no; fi
    # Errors are wrapped over lines.
    if [ $got != "$wanted" ] || ! tr -s '[:space:]' ' ' <"$work/log" | grep -q "$text"; then
        echo "cmake $*: succeeds: $got, wanted: $wanted with '$text'" >&2
        cat "$work/log" >&2
        exit 1
    fi
    echo "ok: cmake ... $(echo "$*" | grep -o '\-DSDC_SEARCH_CUDA[^ ]*'): $text"
}

unset CUDACXX CUDA_PATH CUDA_HOME
failing="-DSDC_SEARCH_NVCC=$work/failing/nvcc"
idle="-DSDC_SEARCH_NVCC=$work/idle/nvcc"
configure yes "Configuring done" "$@" -DSDC_SEARCH_CUDA=OFF
configure yes "built without CUDA, since .*failing/nvcc compiles no small file (3): no licence" "$@" -DSDC_SEARCH_CUDA=AUTO "$failing"
configure no "SDC_SEARCH_CUDA=ON, but .*failing/nvcc compiles no small file (3): no licence" "$@" -DSDC_SEARCH_CUDA=ON "$failing"
configure yes "built without CUDA, since .*idle/nvcc compiles no small file" "$@" -DSDC_SEARCH_CUDA=AUTO "$idle"
configure no "must be AUTO, ON or OFF, got YES" "$@" -DSDC_SEARCH_CUDA=YES
configure yes "built without CUDA, since /nowhere/nvcc compiles no small file" "$@" -DSDC_SEARCH_CUDA=AUTO -DSDC_SEARCH_NVCC=/nowhere/nvcc
