"""One of two hosts that only keep asking each other.

python waiting.py COORDINATOR HOST_ID TIMEOUT
"""

import sys
import time

from nasfas_jax import hosts


def run(coordinator, host_id, timeout):
  hosts.start(coordinator, 2, int(host_id), timeout=int(timeout))
  hosts.meet()
  hosts.gather('')
  print('ready', file=sys.stderr, flush=True)
  try:
    while True:
      hosts.gather('')
      time.sleep(0.05)
  except Exception as error:
    hosts.check_loss(error)
    raise


if __name__ == '__main__':
  with hosts.ending_at_once():
    run(*sys.argv[1:])
