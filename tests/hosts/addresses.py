"""An address of this machine for the hosts of a test to meet at."""

import random
import socket


def free_address():
  """127.0.0.1:PORT; host 0 listens there some seconds later.

  Until then another program may take the port. So it is not one of those that
  Linux gives to connections, which are 32768 and above.
  """
  while True:
    address = '127.0.0.1', random.randrange(20_000, 32_000)
    with socket.socket() as free:
      try:
        free.bind(address)
      except OSError:
        continue
    return '{}:{}'.format(*address)
