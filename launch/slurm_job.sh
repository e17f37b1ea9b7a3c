#!/usr/bin/env bash
# The batch script that launch/slurm.sh submits; not for use by hand.
#
#   slurm_job.sh PYTHON RESTARTS STATUS ARGUMENTS...
#
# Runs nasfas_jax.main as one process a task. Slurm sends SIGTERM to the processes
# before the time is over, and they end with STATUS once they have saved: then the
# job goes back into the queue.
set -euo pipefail
python="$1" restarts="$2" preempted="$3"
shift 3
# A signal to this script must not end it before its processes have saved.
trap 'true' TERM

# srun gives the highest status of all tasks. That of a failure must be above that
# of the others, which stop because of it; a shell for each task sees to that, and
# it too outlives a signal.
# shellcheck disable=SC2016  # For the inner shell.
task='trap true TERM
  "$@" && exit 0
  status=$?
  ((status >= 100 || status == '"$preempted"')) || status=$((status + 100))
  exit "$status"'
status=0
# Since Slurm 22.05 the steps of a job do not take this from it.
[[ -z "${SLURM_CPUS_PER_TASK:-}" ]] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"
srun --kill-on-bad-exit=0 --wait=120 bash -c "$task" task \
  "$python" -m nasfas_jax.main "$@" || status=$?
turn="${SLURM_RESTART_COUNT:-0}"
if ((status != preempted)); then
  exit "$status"
elif ((turn >= restarts)); then
  echo "stopped and saved, but this was turn $((turn + 1)), the last" >&2
  exit "$status"
fi
echo "stopped and saved; back into the queue for turn $((turn + 2))" >&2
# After a preemption Slurm has done so itself, and refuses.
scontrol requeue "$SLURM_JOB_ID" || echo 'requeue was refused' >&2
exit "$status"
