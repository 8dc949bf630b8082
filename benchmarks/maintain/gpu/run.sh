#!/usr/bin/env bash
# Measures on this machine what the kit that this lies in was made for; needs no network. docs/gpu.md tells more.
#   bash run.sh [--minutes N] [--device cpu --rehearse] [--help] [STAGE...]
# PYTHON names another interpreter than python3; BIRNN_WORK another folder than measured beside this file.
set -euo pipefail
kit=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=${BIRNN_WORK:-$kit/measured}

complain() { printf 'run.sh: %s\n' "$1" >&2; exit 2; }

python=$(command -v "${PYTHON:-python3}") || complain "${PYTHON:-python3} must be a Python interpreter; there is none"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || complain "$python must be Python 3.11 or newer"
mkdir -p "$work" 2>/dev/null || complain "$work must be a folder that can be written"

# Unpacked once for each kit and interpreter.
stamp=$(cat "$kit/kit.json"; "$python" -c 'import sys; print(sys.executable, sys.version)')
if [ "$(cat "$work/stamp" 2>/dev/null)" != "$stamp" ]; then
  free=$(df -Pk "$work" | awk 'NR == 2 { print $4 }')
  [ "$free" -ge 1048576 ] || complain "$work must have 1024 MiB free; it has $((free / 1024))"
  rm -rf "$work/sources" "$work/site"
  mkdir "$work/sources"
  tar -xzf "$kit/sources.tar.gz" -C "$work/sources"
  "$python" -m pip --version > "$work/install.log" 2>&1 || complain "$python must have pip, to unpack the wheels with"
  "$python" -m pip install --disable-pip-version-check --no-index --no-deps --no-compile --no-cache-dir --quiet \
    --target "$work/site" "$kit"/wheels/*.whl >> "$work/install.log" 2>&1 ||
    complain "the kit's wheels must suit $python; got: $(grep -m 1 ERROR "$work/install.log")"
  printf '%s\n' "$stamp" > "$work/stamp"
fi

export PYTHONPATH="$work/sources:$work/site${PYTHONPATH:+:$PYTHONPATH}"
"$python" -P -m benchmarks.maintain.gpu.lacks
exec "$python" -P -m benchmarks.maintain.gpu.stages --work "$work" "$@"
