"""Evaluate a trained network on a protocol.

python -m nasfas_jax.main --config=configs/evaluate.py \
    --config.checkpoint=runs/search \
    --config.protocol=synthetic_fas/cross_domain/office
  The network, its input and its size are read from the run's own config.
"""

import ml_collections

from configs import default as default_lib


def get_config() -> ml_collections.ConfigDict:
  """Returns the config."""
  config = default_lib.get_config()
  config.experiment = 'evaluate'
  return config
