#!/usr/bin/env bash
# Runs nasfas_jax.main as N processes on this machine, as N hosts would.
#
#   bash launch/local.sh -n N [options] -- --config=search:debug --workdir=DIR
#
#   -n N            number of processes
#   --port=PORT     of the first process (default: a free one)
#   --restarts=K    starts again at most K times after SIGTERM (default 0)
#   --grace=S       seconds that the others have to end when one has (default 60)
#   --dry-run       prints the commands only
#
# PYTHON is the interpreter (default: python). The output of the first process is
# shown as it is, that of the others with its number. If one fails, all are
# stopped, and its status is that of this command. If this script is killed, Linux
# sends them SIGTERM.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "$0")/common.sh"

count='' port='' restarts=0 grace=60 dry_run=''
if [[ "${1:-}" == -n ]]; then
  count="${2:-}"
  set -- "${@:3}"
elif [[ "${1:-}" == -n* ]]; then
  count="${1#-n}"
  set -- "${@:2}"
fi
[[ "$count" =~ ^[1-9][0-9]{0,3}$ ]] ||
  [[ "${1:-}" == --help || "${1:-}" == -h ]] ||
  fail "-n is '$count'; give the number of processes first: -n 2"
parse 'port restarts grace' 'dry-run' "$@"
need_arguments
need_count restarts 0
need_count grace 1
[[ -z "$port" ]] || need_count port
python="${PYTHON:-python}"
need_tool "$python"

free_port() {
  "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Of a killed script they would go on, and hold the workdir.
tied=()
if setpriv --pdeathsig TERM true 2>/dev/null; then
  tied=(setpriv --pdeathsig TERM)
fi

# A process group each, so that a signal to one reaches its workers, and none is
# deaf to Ctrl-C as a shell's background processes are.
set -m
pids=()

# forward SIGNAL: to all that still run.
forward() {
  local pid
  for pid in ${pids[@]+"${pids[@]}"}; do
    kill -s "$1" -- "$pid" 2>/dev/null || true
  done
}
trap 'forward INT' INT
trap 'forward TERM' TERM
trap 'for pid in ${pids[@]+"${pids[@]}"}; do kill -s KILL -- "-$pid" 2>/dev/null || true; done' EXIT

# Starts all, waits for all, sets `status`.
start_all() {
  local i pid left ended=0 address="127.0.0.1:${port:-$chosen}"
  local statuses=() since=-1
  pids=()
  for ((i = 0; i < count; i++)); do
    local command=("$python" -m nasfas_jax.main "${arguments[@]}"
      "--hosts=$address" "--num_hosts=$count" "--host_id=$i")
    show "${command[@]}"
    [[ -z "$dry_run" ]] || continue
    if ((i)); then
      ${tied[@]+"${tied[@]}"} "${command[@]}" > >(sed "s/^/[$i] /" >&2) \
        2>&1 </dev/null &
    else
      ${tied[@]+"${tied[@]}"} "${command[@]}" &
    fi
    pids+=("$!")
    statuses+=('')
  done
  status=0
  while ((ended < ${#pids[@]})); do
    left=()
    for ((i = 0; i < ${#pids[@]}; i++)); do
      [[ -z "${statuses[i]}" ]] || continue
      pid="${pids[i]}"
      if kill -0 "$pid" 2>/dev/null; then
        left+=("$pid")
        continue
      fi
      wait "$pid" && statuses[i]=0 || statuses[i]=$?
      ended=$((ended + 1))
      # A failure goes before a stop, the first before later ones.
      if ((statuses[i])) && { ((status == 0)) ||
        { ((status == preempted)) && ((statuses[i] != preempted)); }; }; then
        status="${statuses[i]}"
        say "process $i ended with status $status"
      fi
      ((since >= 0)) || since=$SECONDS
    done
    if ((${#left[@]} && since >= 0 && SECONDS - since >= grace)); then
      say "stopping the other processes"
      for pid in "${left[@]}"; do
        kill -s KILL -- "-$pid" 2>/dev/null || true
      done
      ((status)) || status=1
      since=$SECONDS
    fi
    sleep 0.1 || true
  done
  pids=()
}

for ((attempt = 0; ; attempt++)); do
  chosen=PORT
  [[ -n "$port" || -n "$dry_run" ]] || chosen="$(free_port)"
  start_all
  ((status == preempted && attempt < restarts)) || exit "$status"
  say "stopped and saved; starting again ($((attempt + 1)) of $restarts)"
done
