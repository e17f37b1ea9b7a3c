#!/usr/bin/env bash
# Runs nasfas_jax.main on a Cloud TPU: asks for it as a queued resource, runs on
# all of its hosts, starts again after a preemption, fetches the results, and
# deletes it, unless the run may go on or its results are nowhere else.
#
#   bash launch/tpu.sh --name=NAME --zone=ZONE --accelerator=TYPE \
#     --runtime=VERSION [options] -- --config=search:paper --workdir=gs://BUCKET/RUN
#
#   --name=NAME             of the queued resource and its node
#   --zone=ZONE             such as us-west4-a ($NASFAS_ZONE)
#   --accelerator=TYPE      such as v5litepod-16 ($NASFAS_ACCELERATOR)
#   --runtime=VERSION       such as v2-alpha-tpuv5-lite ($NASFAS_RUNTIME)
#   --project=PROJECT       default: that of gcloud ($NASFAS_PROJECT)
#   --service-account=MAIL  of the TPU, which must be allowed to use the bucket
#   --network=NAME, --subnetwork=NAME
#   --spot                  cheaper, and may be taken away at any time
#   --restarts=K            starts again at most K times (default 10)
#   --results=DIR           where results go on this machine (default runs/NAME)
#   --poll=S                seconds between two looks (default 30)
#   --keep                  does not delete the TPU at the end: it goes on costing
#   --delete                only deletes it
#   --dry-run               prints the commands only
#
# The same command again goes on where it was, also while the TPU still runs.
# Ctrl-C deletes the TPU. A workdir in gs:// keeps its checkpoints.
set -euo pipefail
# Where the output goes to another program, Ctrl-C ends that one, too. Writing to
# it must not end this script before the TPU is deleted.
trap '' PIPE
# shellcheck source=launch/common.sh
source "$(dirname "$0")/common.sh"

name='' zone="${NASFAS_ZONE:-}" accelerator="${NASFAS_ACCELERATOR:-}"
runtime="${NASFAS_RUNTIME:-}" project="${NASFAS_PROJECT:-}" service_account=''
network='' subnetwork='' spot='' restarts=10 results='' poll=30 keep='' delete=''
dry_run=''
parse 'name zone accelerator runtime project service-account network subnetwork restarts results poll' \
  'spot keep delete dry-run' "$@"

need name
[[ "$name" =~ ^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$ ]] ||
  fail "--name is '$name'; allowed: lower-case letters, digits and -, at most 40"
need zone 'or NASFAS_ZONE'
need_tool gcloud https://cloud.google.com/sdk/docs/install

where=("--zone=$zone")
[[ -z "$project" ]] || where+=("--project=$project")
removal=(gcloud compute tpus queued-resources delete "$name" "${where[@]}"
  --force --quiet)

# Deletes the TPU; says what is left if that fails.
remove() {
  local try
  for try in 1 2 3; do
    if run "${removal[@]}"; then
      exists=''
      return
    fi
    # Already gone.
    look
    [[ "$state" != NONE ]] || return 0
    ((try == 3)) || sleep "$poll"
  done
  say "$name could NOT be deleted and may go on costing. Delete it with:"
  say "  $(quoted "${removal[@]}")"
  return 1
}

# Sets `state` to that of the queued resource: NONE if there is none, UNKNOWN if
# gcloud cannot say.
look() {
  local said
  local command=(gcloud compute tpus queued-resources describe "$name"
    "${where[@]}" '--format=value(state.state)')
  if [[ -n "$dry_run" ]]; then
    show "${command[@]}"
    state="$pretended"
  elif said="$("${command[@]}" 2>"$errors")"; then
    state="${said:-UNKNOWN}"
  elif grep -q NOT_FOUND "$errors"; then
    state=NONE
  else
    state=UNKNOWN
  fi
  [[ "$state" == NONE ]] && exists='' || exists=yes
}

scratch="$(mktemp -d)"
errors="$scratch/errors"
exists=''
# What a dry run finds.
pretended=NONE
finish() {
  local status=$?
  trap - EXIT
  # An impatient second Ctrl-C must not end what deletes it.
  trap '' INT TERM HUP
  if [[ -n "$exists" && -z "$keep" ]]; then
    remove || true
  elif [[ -n "$exists" ]]; then
    say "$name is kept and goes on costing. Delete it with:"
    say "  $(quoted "${removal[@]}")"
  fi
  rm -rf "$scratch"
  exit "$status"
}

if [[ -n "$delete" ]]; then
  trap 'rm -rf "$scratch"' EXIT
  state=''
  remove
  [[ "$state" != NONE ]] || fail "there is no $name in $zone"
  exit
fi

need accelerator 'or NASFAS_ACCELERATOR'
need runtime 'or NASFAS_RUNTIME'
need_count restarts 0
need_count poll 0
need_arguments
[[ -z "$spot" || "$workdir" == gs://* ]] ||
  fail "--spot needs --workdir=gs://BUCKET/RUN, not '$workdir': the disk of a preempted TPU is lost"
results="${results:-runs/$name}"
# Says of which run a folder of results is.
origin="$name $workdir"
if [[ -z "$dry_run" && -n "$(ls -A "$results" 2>/dev/null)" &&
  "$(cat "$results/.origin" 2>/dev/null)" != "$origin" ]]; then
  fail "--results is '$results', which holds something else; give another folder"
fi

ssh_all=(gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker=all --quiet)

status_of_all=("${ssh_all[@]}"
  '--command=bash nasfas_source/launch/tpu_vm.sh --status')

create() {
  local command=(gcloud compute tpus queued-resources create "$name"
    "${where[@]}" "--node-id=$name" "--accelerator-type=$accelerator"
    "--runtime-version=$runtime" --quiet)
  [[ -z "$spot" ]] || command+=(--spot)
  if [[ -n "$service_account" ]]; then
    command+=("--service-account=$service_account"
      --scopes=https://www.googleapis.com/auth/cloud-platform)
  fi
  [[ -z "$network" ]] || command+=("--network=$network")
  [[ -z "$subnetwork" ]] || command+=("--subnetwork=$subnetwork")
  # Asked for: from here on it may exist, whatever gcloud says.
  exists=yes
  say "asks for $name; to delete it by hand: $(quoted "${removal[@]}")"
  run "${command[@]}" || fail "$name could not be created; see above"
  pretended=ACTIVE
}

# Waits until the TPU is there; fails if it was refused or taken away.
wait_for_it() {
  local last='' unknown=0
  while :; do
    look
    [[ "$state" == "$last" ]] || say "$name: $state"
    last="$state"
    case "$state" in
      ACTIVE) return 0 ;;
      FAILED) fail "$name: the request failed; gcloud compute tpus queued-resources describe $name says why" ;;
      SUSPENDING | SUSPENDED | DELETING | NONE) return 1 ;;
      UNKNOWN)
        unknown=$((unknown + 1))
        ((unknown % 10)) || unheard
        ;;
      *) unknown=0 ;;
    esac
    sleep "$poll"
  done
}

# A lost connection says nothing of the TPU, which could not be deleted either.
unheard() {
  cat "$errors" >&2 || true
  say "gcloud does not answer for $name; waiting for it"
}

# Copies the source to all hosts and starts the run there, unless it runs.
start_run() {
  local archive="$scratch/nasfas_source.tgz" try
  run tar -czf "$archive" -C "$root" --exclude=__pycache__ --exclude='*.egg-info' \
    nasfas_jax datasets configs launch setup.py pyproject.toml README.md
  local copy=(gcloud compute tpus tpu-vm scp "$archive" "$name:nasfas_source.tgz"
    "${where[@]}" --worker=all --quiet)
  # A run that is at work keeps the source that it began with.
  local status='bash nasfas_source/launch/tpu_vm.sh --status 2>/dev/null'
  local unpack='cd nasfas_source && rm -rf nasfas_jax datasets configs launch && tar -xzf ../nasfas_source.tgz'
  local start=("${ssh_all[@]}" "--command=mkdir -p nasfas_source && if ! $status | grep -q '^nasfas-status: running'; then ($unpack); fi && bash nasfas_source/launch/tpu_vm.sh --detach $(quoted "${arguments[@]}")")
  # The first connections to a new machine may be refused.
  for try in 1 2 3 4 5; do
    if run "${copy[@]}" && run "${start[@]}"; then return; fi
    look
    case "$state" in
      SUSPENDING | SUSPENDED | DELETING | NONE) return ;;
    esac
    ((try == 5)) || sleep "$poll"
  done
  fail "the run could not be started on $name; see above"
}

# Follows the run. Sets `outcome`: done, stopped (told to, and saved), failed (sets
# `code`) or preempted.
follow() {
  local said line last='' silent=0 workers running stopped bad
  show "${status_of_all[@]}"
  outcome='' code=1
  if [[ -n "$dry_run" ]]; then
    outcome='done'
  fi
  while [[ -z "$outcome" ]]; do
    workers=0 running=0 stopped=0 bad=''
    said="$("${status_of_all[@]}" 2>"$errors")" || said=''
    while IFS= read -r line; do
      case "$line" in
        'nasfas-status: running'*)
          running=$((running + 1))
          [[ "$line" == "$last" ]] || say "${line#nasfas-status: running }"
          last="$line"
          ;;
        'nasfas-status: 0') ;;
        'nasfas-status: lost' | "nasfas-status: $preempted")
          stopped=$((stopped + 1))
          ;;
        'nasfas-status: '*) bad="${line#nasfas-status: }" ;;
        # What gcloud says.
        *) continue ;;
      esac
      workers=$((workers + 1))
    done <<<"$said"
    if ((workers > 1)) && [[ "$workdir" != gs://* ]]; then
      fail "$name has $workers hosts: they need --workdir=gs://BUCKET/RUN, not '$workdir'"
    fi
    if [[ -n "$bad" ]]; then
      outcome=failed
      [[ ! "$bad" =~ ^[0-9]{1,3}$ ]] || code="$bad"
    elif ((workers && running == 0)); then
      outcome='done'
      ((stopped == 0)) || outcome=stopped
    else
      look
      case "$state" in
        SUSPENDING | SUSPENDED | FAILED | DELETING | NONE)
          outcome=preempted
          ;;
      esac
      # A lost connection comes back.
      ((silent = workers ? 0 : silent + 1)) || true
      if [[ -z "$outcome" ]] && ((silent >= 10)); then
        silent=0
        if [[ "$state" != UNKNOWN ]]; then
          cat "$errors" >&2 || true
          keep=yes
          fail "the hosts of $name do not answer, but the run may go on; the same command follows it again"
        fi
        unheard
      fi
      [[ -n "$outcome" ]] || sleep "$poll"
    fi
  done
}

# Copies workdir and log of the first host to this machine. Sets `log`.
log=''
fetch() {
  run mkdir -p "$results"
  [[ -n "$dry_run" ]] || printf '%s\n' "$origin" >"$results/.origin"
  if run gcloud compute tpus tpu-vm scp "$name:nasfas_source/run.log" \
    "$results/" "${where[@]}" --worker=0 --quiet; then
    log="$results/run.log"
  else
    say 'the log could not be fetched'
  fi
  if [[ "$workdir" == gs://* ]]; then
    run gcloud storage rsync --recursive "$workdir" "$results"
  else
    local path="$workdir"
    [[ "$path" == /* || "$path" == '~'* ]] || path="nasfas_source/$path"
    run gcloud compute tpus tpu-vm scp --recurse "$name:$path" "$results/" \
      "${where[@]}" --worker=0 --quiet
  fi
}

trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

look
attempt=0
if [[ "$state" == UNKNOWN ]]; then
  # Nothing was made yet by this command.
  exists=''
  cat "$errors" >&2 || true
  fail "gcloud does not answer for $name"
elif [[ "$state" != NONE ]]; then
  say "$name is there already ($state): going on with it"
fi
while :; do
  [[ "$state" != NONE ]] || create
  if wait_for_it; then
    start_run
    follow
  else
    outcome=preempted
  fi
  case "$outcome" in
    'done')
      if ! fetch; then
        [[ "$workdir" != gs://* ]] ||
          fail "the results could not be fetched; they are in $workdir"
        keep=yes
        fail "the results could not be fetched from $name, so it is kept"
      fi
      say "results are in $results"
      exit 0
      ;;
    failed)
      if ! fetch && [[ "$workdir" != gs://* ]]; then
        keep=yes
        say "the results could not be fetched from $name, so it is kept"
      fi
      say "the run failed with status $code; see ${log:-its log on $name}"
      exit "$code"
      ;;
  esac
  ((attempt < restarts)) || fail "$name: $outcome again after $restarts restarts"
  attempt=$((attempt + 1))
  say "$name: $outcome; starting again ($attempt of $restarts)"
  if [[ "$outcome" == preempted ]]; then
    [[ -z "$exists" ]] || remove || exit 1
    state=NONE
    [[ -z "$dry_run" ]] || exit 1
  fi
done
