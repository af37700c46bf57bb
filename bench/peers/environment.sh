# shellcheck shell=bash disable=SC2034 # run.sh uses what is set here
# environment.sh: what the peers run in. Sourced by run.sh after say() and die(); not a program.
#
# Sets: python (Debian's, with PyTorch 1.13), preload (the OpenMP build of OpenBLAS, for Debian's PyTorch alone), newest
# (the virtual environment's python with the newest PyTorch and ONNX Runtime; empty when there is none) and no_newest
# (why there is none). Reads PEERS_VENV and CACHE.

python=/usr/bin/python3 # Debian's own: another python3 on PATH would not see python3-torch

# libblas.so.3 may be any of several libraries, libopenblas.so.0 too: loading the OpenMP build's files first settles both.
find_openblas() {
  local file path
  preload=
  for file in 'libopenblas\.so\.0' 'libblas\.so\.3' 'liblapack\.so\.3'; do
    path=$(dpkg -L libopenblas0-openmp | grep -E "/$file\$" | head -n 1) || die "libopenblas0-openmp holds no $file"
    preload=${preload:+$preload:}$path
  done
}

# The newest wheels, once; later runs take what is there. Without a network the comparison goes on without them, aloud.
find_newest() {
  local venv=${PEERS_VENV:-$CACHE/venv} log
  newest='' no_newest=''
  if [[ -n ${NO_NEWEST:-} ]]; then
    no_newest="NO_NEWEST is set"
  elif ! "$venv/bin/python" -c 'import torch, onnxruntime' 2>/dev/null; then
    say "making $venv with the newest torch and onnxruntime from PyPI"
    log=$(mktemp)
    if ! { "$python" -m venv "$venv" && "$venv/bin/pip" install torch onnxruntime numpy; } >"$log" 2>&1; then
      no_newest="the wheels could not be installed in $venv: $(tail -n 1 "$log")"
    fi
    rm -f "$log"
  fi
  if [[ -n $no_newest ]]; then
    say "*** SKIPPED: the newest PyTorch and ONNX Runtime: $no_newest. Their numbers will be null. ***"
  else
    newest=$venv/bin/python
  fi
}
