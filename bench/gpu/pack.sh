#!/usr/bin/env bash
# pack.sh: all that bench/gpu/run.sh needs, as one archive for a machine that has a GPU's driver, CUDA 13's libraries (or
# PyTorch's copy of them) and Python with PyTorch, and nothing else of ours.
#
#   bench/gpu/pack.sh [--build FOLDER] [--without-cuda] OUT.tar.zst|OUT.tar.gz
#
# --build FOLDER     takes what is built there [builds in build-pack/]
# --without-cuda     leaves libvitrine_cuda.so out: for the emulator alone
# CMAKE_CUDA_ARCHITECTURES   the GPUs to build for [all: 80-real;86-real;89-real;90-real;100-real;120]
#
# On the other machine: tar -xf OUT.tar.zst && vitrine-gpu/bench/gpu/run.sh all. Fails above 60 MB.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
say() { echo "pack: $*" >&2; }
die() { say "$*"; exit 1; }
most=$((60 * 1000 * 1000))

build='' cuda=1 archive=''
while (($#)); do
  case $1 in
    --build) (($# > 1)) || die "--build: expected a folder after it"; build=$2; shift ;;
    --without-cuda) cuda=0 ;;
    --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *.tar.zst | *.tar.gz) archive=$1 ;;
    *) die "unknown word '$1'; usage: pack.sh [--build FOLDER] [--without-cuda] OUT.tar.zst|OUT.tar.gz" ;;
  esac
  shift
done
[[ -n $archive ]] || die "usage: pack.sh [--build FOLDER] [--without-cuda] OUT.tar.zst|OUT.tar.gz"
if [[ $archive == *.zst ]] && ! command -v zstd >/dev/null; then
  archive=${archive%.zst}.gz
  say "there is no zstd here: the archive is $archive"
fi

if [[ -z $build ]]; then
  build=$root/build-pack
  options=(-DVITRINE_GPU_BENCH=ON -DVITRINE_TESTS=ON -DVITRINE_EXAMPLES=ON -DVITRINE_EMULATOR=ON)
  if ((cuda)); then
    options+=(-DVITRINE_CUDA=ON "-DCMAKE_CUDA_ARCHITECTURES=${CMAKE_CUDA_ARCHITECTURES:-80-real;86-real;89-real;90-real;100-real;120}")
  else
    options+=(-DVITRINE_CUDA=OFF)
  fi
  { cmake -S "$root" -B "$build" "${options[@]}" && cmake --build "$build" -j "${JOBS:-$(nproc)}"; } >&2 ||
    die "Vitrine could not be built"
fi

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
pack=$place/vitrine-gpu
mkdir -p "$pack"/{bin,lib,deps,bench/gpu,bench/peers}
take() { # FILE FOLDER
  [[ -f $1 ]] || die "'$1' is missing: the build needs VITRINE_GPU_BENCH, VITRINE_TESTS, VITRINE_EMULATOR and VITRINE_CUDA"
  install -m 755 "$1" "$2"
}
for program in examples/vitrine tests/vitrine_tests bench/vitrine_gpu_kernels; do take "$build/$program" "$pack/bin"; done
take "$build/lib/libvitrine_emulator.so" "$pack/lib"
if ((cuda)); then take "$build/lib/libvitrine_cuda.so" "$pack/lib"; fi
strip --strip-unneeded "$pack"/bin/* "$pack"/lib/*

# What belongs to the system, or comes with the driver and with CUDA.
others='^(linux-vdso|ld-linux.*|libc|libm|libdl|librt|libpthread|libcuda|libcublas|libcublasLt)\.so'
for file in "$pack"/bin/* "$pack"/lib/*; do
  ldd "$file" | awk '$2 == "=>" && $3 ~ /^\// { print $1, $3 }' | while read -r name path; do
    [[ $name =~ $others || -e $pack/deps/$name ]] || install -m 755 "$path" "$pack/deps/$name"
  done
done

# The scripts, and what they import of the comparison with peers.
cp "$here"/*.py "$here/run.sh" "$here/README.md" "$pack/bench/gpu"
sed -nE 's/^(from|import) ([a-z_]+).*/\2/p' "$here"/*.py "$root"/bench/peers/{programs,step,summary,table}.py | sort -u |
  while read -r module; do
    [[ ! -f $root/bench/peers/$module.py ]] || cp "$root/bench/peers/$module.py" "$pack/bench/peers"
  done
git -C "$root" describe --always --dirty >"$pack/commit" 2>/dev/null || echo unknown >"$pack/commit"

if [[ $archive == *.zst ]]; then
  tar -C "$place" --owner=0 --group=0 -cf - vitrine-gpu | zstd -q -19 -T0 -f -o "$archive"
else
  tar -C "$place" --owner=0 --group=0 -czf "$archive" vitrine-gpu
fi
size=$(stat -c %s "$archive")
(cd "$place" && find vitrine-gpu -type f -printf '%10s  %p\n' | sort -k 2)
echo "$archive: $((size / 1000)) kB"
((size <= most)) || { rm -f "$archive"; die "the archive is above $((most / 1000000)) MB"; }
