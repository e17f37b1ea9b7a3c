"""Prints the manifest of a JobSet; launch/kubernetes.sh calls it.

The manifest is JSON, which is YAML too, so no value needs to be quoted by hand.
Needs the standard library only. Fields: jobset.x-k8s.io/v1alpha2 and batch/v1.
"""

import argparse
import json
import re
import sys

# Where the first pod listens for the others.
PORT = 8476


def manifest(args: argparse.Namespace) -> dict:
  """The manifest, as `parse` read its options.

  Raises:
    ValueError: for a value that Kubernetes would refuse; names it.
  """
  name = args.name
  arguments = list(args.arguments)
  if args.hosts == 1:
    arguments.append('--hosts=off')
  else:
    # The pods' names are those of JobSet: JOBSET-JOB-INDEX-POD.JOBSET.
    arguments += [
      f'--hosts={name}-workers-0-0.{name}:{PORT}',
      f'--num_hosts={args.hosts}',
    ]
  # Kubernetes replaces $(NAME) in arguments, and $$ is a $.
  command = ['python', '-m', 'nasfas_jax.main']
  command += [word.replace('$', '$$') for word in arguments]
  if args.hosts > 1:
    command.append('--host_id=$(NASFAS_HOST_ID)')
  resources = {}
  if args.cpu:
    resources['cpu'] = _match('--cpu', args.cpu, r'[0-9]+(\.[0-9]+)?|[0-9]+m')
  if args.memory:
    resources['memory'] = _match(
      '--memory', args.memory, r'[0-9]+(\.[0-9]+)?([KMGT]i?)?'
    )
  if args.chips:
    resources[
      _match('--device', args.device, r'[a-z0-9.-]+/[A-Za-z0-9_.-]+')
    ] = str(args.chips)
  container = {
    'name': 'nasfas',
    'image': _match('--image', args.image, r'[^\s]+'),
    'command': command,
    'env': [
      {
        'name': 'NASFAS_HOST_ID',
        'valueFrom': {
          'fieldRef': {
            'fieldPath': (
              "metadata.annotations['batch.kubernetes.io/job-completion-index']"
            )
          }
        },
      }
    ],
    'resources': {'requests': resources, 'limits': resources},
  }
  pod = {
    'restartPolicy': 'Never',
    # To save after SIGTERM.
    'terminationGracePeriodSeconds': 120,
    'containers': [container],
  }
  if args.service_account:
    pod['serviceAccountName'] = _match(
      '--service-account',
      args.service_account,
      _NAME,
    )
  if args.select:
    pod['nodeSelector'] = dict(map(_label, args.select.split(',')))
  if args.tolerate:
    pod['tolerations'] = [
      {'key': _match('--tolerate', key, _KEY), 'operator': 'Exists'}
      for key in args.tolerate.split(',')
    ]
  if args.claim:
    claim = _match('--claim', args.claim, _NAME)
    pod['volumes'] = [
      {'name': 'runs', 'persistentVolumeClaim': {'claimName': claim}}
    ]
    container['volumeMounts'] = [{'name': 'runs', 'mountPath': args.mount}]
  job = {
    'parallelism': args.hosts,
    'completions': args.hosts,
    'completionMode': 'Indexed',
    # One lost pod ends the job, and the JobSet starts all of them again.
    'backoffLimit': 0,
    'podFailurePolicy': {
      'rules': [
        # A pod that its node took down, whatever its status.
        {
          'action': 'Count',
          'onPodConditions': [{'type': 'DisruptionTarget', 'status': 'True'}],
        },
        # A run that failed by itself would fail again.
        {
          'action': 'FailJob',
          'onExitCodes': {
            'containerName': 'nasfas',
            'operator': 'NotIn',
            'values': [args.preempted, 137, 143],
          },
        },
      ]
    },
    'template': {'spec': pod},
  }
  return {
    'apiVersion': 'jobset.x-k8s.io/v1alpha2',
    'kind': 'JobSet',
    'metadata': {'name': name},
    'spec': {
      'failurePolicy': {
        'maxRestarts': args.restarts,
        'rules': [
          {
            'name': 'failed-by-itself',
            'action': 'FailJobSet',
            'onJobFailureReasons': ['PodFailurePolicy'],
          }
        ],
      },
      # The pods find the first one before it is ready.
      'network': {
        'enableDNSHostnames': True,
        'publishNotReadyAddresses': True,
      },
      'replicatedJobs': [
        {'name': 'workers', 'replicas': 1, 'template': {'spec': job}}
      ],
      'ttlSecondsAfterFinished': args.keep_seconds,
    },
  }


_NAME = r'[a-z0-9]([a-z0-9.-]*[a-z0-9])?'
_KEY = r'([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?'


def _label(text: str) -> tuple[str, str]:
  key, _, value = text.partition('=')
  _match('--select', key, _KEY)
  _match('--select', value, r'[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?')
  return key, value


def _match(option: str, value: str, pattern: str) -> str:
  if not re.fullmatch(pattern, value):
    raise ValueError(f'{option} has {value!r}; allowed: {pattern}')
  return value


def parse(argv: list[str]) -> argparse.Namespace:
  """Reads the options of launch/kubernetes.sh; they name its own."""
  parser = argparse.ArgumentParser()
  for option in (
    *('name', 'image', 'device', 'select', 'tolerate', 'cpu', 'memory'),
    *('claim', 'mount', 'service-account'),
  ):
    parser.add_argument(f'--{option}', required=True)
  for option in ('hosts', 'chips', 'restarts', 'keep-seconds', 'preempted'):
    parser.add_argument(f'--{option}', type=int, required=True)
  parser.add_argument('arguments', nargs='*')
  return parser.parse_args(argv)


if __name__ == '__main__':
  try:
    print(json.dumps(manifest(parse(sys.argv[1:])), indent=2))
  except ValueError as error:
    sys.exit(f'error: {error}')
