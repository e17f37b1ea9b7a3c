"""Print all protocols, with counts of what is prepared on this machine.

python -m nasfas_jax.main --config=configs/protocols.py
"""

import ml_collections

from configs import default as default_lib


def get_config() -> ml_collections.ConfigDict:
  """Returns the config."""
  config = default_lib.get_config()
  config.experiment = 'protocols'
  return config
