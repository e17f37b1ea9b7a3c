"""Two hosts with their run in a bucket; both die, and two others go on."""

import json
import os
import pathlib
import subprocess
import sys

import addresses
import fake_gcs
import pytest

pytestmark = pytest.mark.slow_processes

HOST = pathlib.Path(__file__).parent / 'bucket_host.py'
# Far more than a loaded machine needs.
SECONDS = 600


def start(server, stop):
  address = addresses.free_address()
  environment = {
    **os.environ,
    'STORAGE_EMULATOR_HOST': server.url,
    'TENSORSTORE_GCS_HTTP_URL': server.url,
    'GOOGLE_AUTH_TOKEN_FOR_TESTING': 'none',
    'FSSPEC_GS_TOKEN': 'anon',
    'FSSPEC_GCS_TOKEN': 'anon',
    'GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT': 'false',
    'PYTHONPATH': os.pathsep.join(
      [str(HOST.parents[1]), *filter(None, [os.environ.get('PYTHONPATH')])]
    ),
  }
  return [
    subprocess.Popen(
      [sys.executable, HOST, address, '2', str(host), str(stop)],
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for host in range(2)
  ]


def finish(started):
  """Waits for processes; their statuses, and what they said."""
  try:
    said = [process.communicate(timeout=SECONDS)[0] for process in started]
  finally:
    for process in started:
      process.kill()
      process.communicate()
  return [process.returncode for process in started], said


def test_two_hosts_go_on_from_a_bucket():
  with fake_gcs.serving() as server:
    statuses, said = finish(start(server, 3))
    assert 0 not in statuses, said
    assert 'bucket/a/checkpoints/train/2/commit_success.txt' in server.objects
    statuses, said = finish(start(server, 0))
    assert statuses == [0, 0], said
    assert all('10.0' in text.splitlines() for text in said)
    lines = server.objects['bucket/a/metrics.jsonl'].splitlines()
  assert [json.loads(line)['train_loss'] for line in lines] == [1, 3, 6, 10]
