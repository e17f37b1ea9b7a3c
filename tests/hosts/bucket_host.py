"""One host of a run in a bucket, on the program that counts.

python bucket_host.py ADDRESS NUMBER ID STOP

STOP is the step after which the host dies, as by kill -9; 0 for none. The step
before it must be one that is saved.
"""

import os
import sys
import time

import jax
import numpy as np
import test_loop
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nasfas_jax import hosts, remote, run_log

SAVED = 'checkpoints/train/2/commit_success.txt'


def counting(num_steps):
  """The program of test_loop, replicated over the devices of all hosts."""
  mesh = Mesh(np.asarray(jax.devices()), ('data',))
  everywhere = NamedSharding(mesh, PartitionSpec())

  def put(number):
    return jax.make_array_from_callback(
      (), everywhere, lambda _: np.float32(number)
    )

  program = test_loop.counting(num_steps)

  class Numbers:
    def __init__(self, start):
      self._numbers = program.batches(start)

    def __next__(self):
      return put(float(next(self._numbers)))

    def close(self):
      self._numbers.close()

  return program._replace(state={'total': put(0)}, batches=Numbers)


def main(address, number, host, stop):
  hosts.start(address, int(number), int(host), timeout=20)
  folder = remote.local('gs://bucket/a', claim=jax.process_index() == 0)
  write = run_log.MetricWriter.write

  def write_and_die(writer, step, *args, **more):
    write(writer, step, *args, **more)
    if step == int(stop):
      # Not before the save of the step before has ended.
      while SAVED not in remote.names('gs://bucket/a'):
        time.sleep(0.05)
      os._exit(9)

  run_log.MetricWriter.write = write_and_die
  with remote.pushing(folder):
    state = test_loop.run(counting(4), folder, log_every=1)
  print(float(state['total'].addressable_data(0)), flush=True)
  hosts.finish()
  os._exit(0)


if __name__ == '__main__':
  main(*sys.argv[1:])
