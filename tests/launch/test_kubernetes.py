"""launch/kubernetes.sh and the manifest that it makes."""

import json
import re

from stand_ins import NASTY

OPTIONS = ('--name=my-run', '--image=repo.io/me/nasfas:1')
RUN = ('--config=search:paper', '--workdir=gs://bucket/run')


def launch(machine, *args, options=OPTIONS, **more):
  return machine.launch('kubernetes.sh', *options, '--', *args, **more)


def pod_of(manifest):
  (job,) = manifest['spec']['replicatedJobs']
  return job['template']['spec']['template']['spec']


def test_the_manifest_reaches_kubectl_with_its_arguments(machine):
  done = launch(
    machine, *RUN, f'--config.note={NASTY}', options=(*OPTIONS, '--hosts=4')
  )
  assert done.returncode == 0, done.stderr
  assert machine.calls() == [['kubectl', 'create', '-f', '-']]
  manifest = json.loads((machine.fake / 'input').read_text())
  assert manifest['apiVersion'] == 'jobset.x-k8s.io/v1alpha2'
  (container,) = pod_of(manifest)['containers']
  # Kubernetes makes $ of $$, and fills in $(NASFAS_HOST_ID).
  *words, last = container['command']
  assert [word.replace('$$', '$') for word in words] == [
    *('python', '-m', 'nasfas_jax.main', *RUN, f'--config.note={NASTY}'),
    *('--hosts=my-run-workers-0-0.my-run:8476', '--num_hosts=4'),
  ]
  assert last == '--host_id=$(NASFAS_HOST_ID)'
  assert '$' not in ''.join(words).replace('$$', '')
  (job,) = manifest['spec']['replicatedJobs']
  spec = job['template']['spec']
  assert (spec['parallelism'], spec['completions']) == (4, 4)
  assert spec['completionMode'] == 'Indexed'
  assert 'kubectl delete jobset my-run' in done.stderr


def test_a_run_that_fails_by_itself_is_not_started_again(machine):
  done = launch(machine, *RUN, options=(*OPTIONS, '--manifest', '--restarts=3'))
  manifest = json.loads(done.stdout)
  (job,) = manifest['spec']['replicatedJobs']
  spec = job['template']['spec']
  rules = spec['podFailurePolicy']['rules']
  assert [rule['action'] for rule in rules] == ['Count', 'FailJob']
  # 75: told to stop, and saved. 137, 143: killed by the node.
  assert rules[1]['onExitCodes']['values'] == [75, 137, 143]
  policy = manifest['spec']['failurePolicy']
  assert policy['maxRestarts'] == 3
  # The form that JobSet allows.
  assert re.fullmatch('[A-Za-z][A-Za-z0-9_,:]*', policy['rules'][0]['name'])
  assert policy['rules'][0]['action'] == 'FailJobSet'
  assert policy['rules'][0]['onJobFailureReasons'] == ['PodFailurePolicy']
  assert spec['backoffLimit'] == 0
  # One pod needs no others.
  assert pod_of(manifest)['containers'][0]['command'][-1] == '--hosts=off'
  assert machine.calls() == []


def test_devices_nodes_and_a_volume(machine):
  done = machine.launch(
    'kubernetes.sh',
    *(*OPTIONS, '--manifest', '--chips=4', '--device=google.com/tpu'),
    '--select=cloud.google.com/gke-tpu-topology=4x4,a=b',
    *('--tolerate=cloud.google.com/gke-spot', '--cpu=8', '--memory=32Gi'),
    *('--claim=disk', '--mount=/data', '--service-account=robot'),
    *('--', '--config=train', '--workdir=/data/run'),
  )
  assert done.returncode == 0, done.stderr
  pod = pod_of(json.loads(done.stdout))
  assert pod['nodeSelector'] == {
    'cloud.google.com/gke-tpu-topology': '4x4',
    'a': 'b',
  }
  assert pod['tolerations'] == [
    {'key': 'cloud.google.com/gke-spot', 'operator': 'Exists'}
  ]
  (container,) = pod['containers']
  assert container['resources']['limits'] == {
    'cpu': '8',
    'memory': '32Gi',
    'google.com/tpu': '4',
  }
  assert container['volumeMounts'] == [{'name': 'runs', 'mountPath': '/data'}]
  assert pod['serviceAccountName'] == 'robot'


def test_a_refusal_says_what_may_be_left(machine):
  machine.write(refused='create')
  done = launch(machine, *RUN, options=(*OPTIONS, '--namespace=mine'))
  assert done.returncode == 2
  assert (
    'if this command made it all the same, it is deleted with: '
    'kubectl --namespace=mine delete jobset my-run' in done.stderr
  )


def test_delete_only_deletes(machine):
  done = machine.launch('kubernetes.sh', '--name=my-run', '--delete')
  assert done.returncode == 0, done.stderr
  assert machine.calls() == [['kubectl', 'delete', 'jobset', 'my-run']]


def test_a_dry_run_prints_command_and_manifest(machine):
  done = launch(machine, *RUN, options=(*OPTIONS, '--dry-run'))
  assert done.returncode == 0
  assert machine.calls() == []
  assert '+ kubectl create -f -\n' in done.stderr
  assert json.loads(done.stdout)['kind'] == 'JobSet'
