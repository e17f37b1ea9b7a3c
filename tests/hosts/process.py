"""One host of several runs, one after the other, in one process.

python process.py DATA_DIR FOLDER COORDINATOR NUM_HOSTS HOST_ID

Writes the runs FOLDER/plain and FOLDER/tasks, and an evaluation of the first,
FOLDER/judged. As the main module, but with one import and one start.
"""

import pathlib
import sys

import small
from absl import flags

from nasfas_configs import evaluate as evaluate_config
from nasfas_jax import hosts, main
from nasfas_jax.ops.cpu import xla_options


def run(data_dir, folder, coordinator, num_hosts, host_id):
  flags.FLAGS.mark_as_parsed()
  xla_options.prefer_own_convolutions()
  if int(num_hosts) > 1:
    hosts.start(coordinator, int(num_hosts), int(host_id))
  hosts.meet()
  folder = pathlib.Path(folder)
  for variant in ('plain', 'tasks'):
    config = small.get_config(variant)
    config.data.data_dir = data_dir
    config.protocol = 'synthetic_fas/cross_domain/night'
    main.run(config, folder / variant)
  config = evaluate_config.get_config()
  config.data.data_dir = data_dir
  config.checkpoint = str(folder / 'plain')
  config.protocol = 'synthetic_fas/cross_domain/office'
  config.evaluate.batch_size = 8
  config.evaluate.bootstrap_samples = 100
  main.run(config, folder / 'judged')
  hosts.finish()


if __name__ == '__main__':
  with hosts.ending_at_once():
    run(*sys.argv[1:])
