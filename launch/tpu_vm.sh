#!/usr/bin/env bash
# Runs nasfas_jax.main on this host of a Cloud TPU. Makes the virtual environment
# the first time. All hosts of a TPU need the same command at the same time, which
# launch/tpu.sh sees to.
#
#   bash launch/tpu_vm.sh --config=search:paper --workdir=gs://BUCKET/RUN
#
#   --detach ARGUMENTS   runs it in the background; the output goes to run.log
#   --status             prints "nasfas-status: " and running, the exit status, or
#                        lost (the machine was started anew meanwhile)
#
# NASFAS_VENV is the folder of the virtual environment (default: nasfas_venv in
# the home folder).
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${NASFAS_VENV:-$HOME/nasfas_venv}"

case "${1:-}" in
  --detach)
    # Asked for twice, it runs once.
    if [[ ! -s run.status && -s run.pid ]] && kill -0 "$(cat run.pid)" 2>/dev/null; then
      exit 0
    fi
    rm -f run.status
    # Its own session, so that the end of the connection does not end it.
    # shellcheck disable=SC2016  # For the inner shell.
    setsid nohup bash -c 'bash launch/tpu_vm.sh "$@" && s=0 || s=$?
      echo "$s" >run.status.new && mv run.status.new run.status' \
      run "${@:2}" >>run.log 2>&1 </dev/null &
    echo "$!" >run.pid
    exit 0
    ;;
  --status)
    if [[ -s run.status ]]; then
      echo "nasfas-status: $(cat run.status)"
    elif [[ -s run.pid ]] && kill -0 "$(cat run.pid)" 2>/dev/null; then
      echo "nasfas-status: running $(tail -n 1 run.log | tr '\r' '\n' | tail -n 1)"
    else
      echo 'nasfas-status: lost'
    fi
    exit 0
    ;;
esac

if [[ ! -x "$venv/bin/nasfas_ready" ]]; then
  # Only what this script has made is made anew.
  if [[ -n "$(ls -A "$venv" 2>/dev/null)" && ! -e "$venv.of_nasfas" ]]; then
    echo "error: NASFAS_VENV is '$venv', which holds something else; give a folder that does not exist" >&2
    exit 2
  fi
  rm -rf "$venv"
  touch "$venv.of_nasfas"
  # The image of a TPU may have an older python3 than the package takes.
  python=''
  for name in python3 python3.13 python3.12 python3.11; do
    if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
      2>/dev/null; then
      python="$name"
      break
    fi
  done
  if [[ -n "$python" ]]; then
    "$python" -m venv "$venv"
  else
    # uv brings a Python of its own.
    python3 -m pip install --quiet --user uv
    python3 -m uv venv --quiet --seed --python 3.12 "$venv"
  fi
  "$venv/bin/pip" install --quiet -e '.[tpu,gcs]'
  # Marks a finished installation; one that was cut off is made again.
  printf '#!/bin/sh\n' >"$venv/bin/nasfas_ready"
  chmod +x "$venv/bin/nasfas_ready"
fi
exec "$venv/bin/python" -m nasfas_jax.main "$@"
