#!/usr/bin/env bash
# Runs nasfas_jax.main as a JobSet on Kubernetes. The cluster needs JobSet:
# https://jobset.sigs.k8s.io. A pod that is told to stop saves, and the JobSet
# starts again, as it does after the loss of a node; a run that fails by itself
# ends it.
#
#   bash launch/kubernetes.sh --name=NAME --image=IMAGE [options] \
#     -- --config=search:paper --workdir=gs://BUCKET/RUN
#
#   --name=NAME              of the JobSet
#   --image=IMAGE            with this package, see launch/Dockerfile ($NASFAS_IMAGE)
#   --namespace=NAME         (default: that of kubectl)
#   --hosts=N                pods (default 1)
#   --chips=N                TPU chips or GPUs of a pod (default 0)
#   --device=NAME            their resource (default nvidia.com/gpu; google.com/tpu)
#   --select=KEY=VALUE,...   node labels, such as
#                            cloud.google.com/gke-tpu-topology=4x4
#   --tolerate=KEY,...       taints of nodes to accept
#   --cpu=N, --memory=SIZE   of a pod, such as 8 and 32Gi
#   --claim=NAME             a PersistentVolumeClaim, mounted at --mount
#   --mount=DIR              (default /runs)
#   --service-account=NAME   of the pods, for a bucket
#   --restarts=K             (default 10)
#   --keep-seconds=S         a finished JobSet is deleted after (default 86400)
#   --manifest               prints the manifest only
#   --delete                 deletes the JobSet NAME
#   --dry-run                prints the command and the manifest only
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "$0")/common.sh"

name='' image="${NASFAS_IMAGE:-}" namespace='' hosts=1 chips=0
device=nvidia.com/gpu select='' tolerate='' cpu='' memory='' claim=''
mount=/runs service_account='' restarts=10 keep_seconds=86400 manifest=''
delete='' dry_run=''
parse 'name image namespace hosts chips device select tolerate cpu memory claim mount service-account restarts keep-seconds' \
  'manifest delete dry-run' "$@"
need name
# The pods are NAME-workers-0-I, a DNS label.
[[ "$name" =~ ^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$ ]] ||
  fail "--name is '$name'; allowed: lower-case letters, digits and -, at most 40"
kubectl=(kubectl)
if [[ -n "$namespace" ]]; then
  [[ "$namespace" =~ ^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$ ]] ||
    fail "--namespace is '$namespace'; allowed: lower-case letters, digits and -"
  kubectl+=("--namespace=$namespace")
fi
removal=("${kubectl[@]}" delete jobset "$name")
if [[ -n "$delete" ]]; then
  need_tool kubectl
  run "${removal[@]}"
  exit
fi

need image 'or NASFAS_IMAGE'
need_count hosts
need_count chips 0
need_count restarts 0
need_count keep-seconds 0
need_arguments
[[ "$mount" == /* ]] || fail "--mount is '$mount'; it must start with /"
if [[ "$workdir" != gs://* ]] && [[ -z "$claim" || "$workdir" != "${mount%/}"/* ]]; then
  fail "--workdir is '$workdir', which goes with the pod; allowed: gs://BUCKET/RUN, or a folder in --mount of --claim"
fi
need_tool python3
made="$(python3 "$root/launch/jobset.py" \
  "--name=$name" "--image=$image" "--hosts=$hosts" "--chips=$chips" \
  "--device=$device" "--select=$select" "--tolerate=$tolerate" "--cpu=$cpu" \
  "--memory=$memory" "--claim=$claim" "--mount=$mount" \
  "--service-account=$service_account" "--restarts=$restarts" \
  "--keep-seconds=$keep_seconds" "--preempted=$preempted" -- "${arguments[@]}")"
if [[ -n "$manifest" ]]; then
  printf '%s\n' "$made"
  exit
fi
[[ -z "$dry_run" ]] || printf '%s\n' "$made"
need_tool kubectl
if ! run "${kubectl[@]}" create -f - <<<"$made"; then
  say "if this command made it all the same, it is deleted with: $(quoted "${removal[@]}")"
  fail "$name could not be created; see above"
fi
say "its output:   $(quoted "${kubectl[@]}" logs --follow "job/$name-workers-0")"
say "its state:    $(quoted "${kubectl[@]}" get jobset "$name")"
say "to delete it: $(quoted "${removal[@]}")"
