#!/usr/bin/env bash
# Runs the main job on a single-host Cloud TPU VM.
#
#   bash launch/tpu_vm.sh --config=search:paper \
#     --config.protocol=synthetic_fas/cross_domain/night --workdir=DIR
#
# Makes the virtual environment the first time. Not run by us on a TPU yet.
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${NASFAS_VENV:-$HOME/nasfas_venv}"
if [ ! -x "$venv/bin/python" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install -e '.[tpu]'
fi
exec "$venv/bin/python" -m nasfas_jax.main "$@"
