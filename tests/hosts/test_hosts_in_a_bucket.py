"""Two hosts with their run in a bucket; both die, and two others go on."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import fake_gcs
import pytest

pytestmark = pytest.mark.slow_processes

HOST = pathlib.Path(__file__).parent / 'bucket_host.py'


def start(server, stop):
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
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
      [sys.executable, HOST, f'127.0.0.1:{port}', '2', str(host), str(stop)],
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      text=True,
    )
    for host in range(2)
  ]


def test_two_hosts_go_on_from_a_bucket():
  with fake_gcs.serving() as server:
    for process in start(server, 3):
      process.communicate(timeout=100)
      assert process.returncode != 0
    assert 'bucket/a/checkpoints/train/2/commit_success.txt' in server.objects
    for process in start(server, 0):
      said, _ = process.communicate(timeout=100)
      assert process.returncode == 0
      assert '10.0' in said.splitlines()
    lines = server.objects['bucket/a/metrics.jsonl'].splitlines()
  assert [json.loads(line)['train_loss'] for line in lines] == [1, 3, 6, 10]
