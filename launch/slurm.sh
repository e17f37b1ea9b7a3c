#!/usr/bin/env bash
# Submits nasfas_jax.main to Slurm. The job ends in order two minutes before its
# time is over, saves, and goes back into the queue until the run is done; so it
# does after a preemption or the loss of a node.
#
#   bash launch/slurm.sh --time=HH:MM:SS [options] -- --config=search:paper --workdir=DIR
#
#   --time=HH:MM:SS        of one turn in the queue
#   --nodes=N              (default 1)
#   --gpus-per-node=N      one process for each (default 0: one process a node)
#   --cpus-per-process=N   (default 8)
#   --mem=SIZE             of a node, such as 64G (default: that of the cluster)
#   --name=NAME            of the job (default: nasfas)
#   --partition=NAME, --account=NAME, --qos=NAME, --constraint=LIST
#                          as of sbatch ($NASFAS_PARTITION, $NASFAS_ACCOUNT)
#   --restarts=K           turns after the first, at most (default 100)
#   --log=FILE             (default slurm-NAME-%j.log; %j is the job's number)
#   --dry-run              prints the command only
#
# PYTHON is the interpreter on the nodes (default: that of this shell). The workdir
# and the prepared data must be on a file system that all nodes share, or in gs://.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "$0")/common.sh"

time='' nodes=1 gpus_per_node=0 cpus_per_process=8 mem='' name=nasfas
partition="${NASFAS_PARTITION:-}" account="${NASFAS_ACCOUNT:-}" qos=''
constraint='' restarts=100 log='' dry_run=''
parse 'time nodes gpus-per-node cpus-per-process mem name partition account qos constraint restarts log' \
  'dry-run' "$@"
need time 'such as 04:00:00'
[[ "$time" =~ ^([0-9]+-)?[0-9]+(:[0-9]{1,2}){0,2}$ ]] ||
  fail "--time is '$time'; allowed: minutes, HH:MM:SS or D-HH:MM:SS"
[[ "$name" =~ ^[A-Za-z0-9_.-]{1,64}$ ]] ||
  fail "--name is '$name'; allowed: letters, digits, _, . and -, at most 64"
need_count nodes
need_count gpus-per-node 0
need_count cpus-per-process
need_count restarts 0
need_arguments
need_tool sbatch
python="${PYTHON:-$(command -v python || true)}"
[[ -n "$python" ]] || fail 'there is no python here; set PYTHON to that of the nodes'

processes=$((gpus_per_node > 0 ? gpus_per_node : 1))
command=(sbatch "--job-name=$name" "--time=$time" "--nodes=$nodes"
  "--ntasks-per-node=$processes" "--cpus-per-task=$cpus_per_process"
  "--output=${log:-slurm-$name-%j.log}" --open-mode=append
  --requeue --signal=TERM@120)
((gpus_per_node == 0)) || command+=("--gpus-per-node=$gpus_per_node")
[[ -z "$mem" ]] || command+=("--mem=$mem")
[[ -z "$partition" ]] || command+=("--partition=$partition")
[[ -z "$account" ]] || command+=("--account=$account")
[[ -z "$qos" ]] || command+=("--qos=$qos")
[[ -z "$constraint" ]] || command+=("--constraint=$constraint")
command+=("$root/launch/slurm_job.sh" "$python" "$restarts" "$preempted"
  "${arguments[@]}")
run "${command[@]}" || fail 'sbatch refused the job; see above'
say 'squeue --me shows the job, scancel NUMBER ends it'
