"""Evaluate a trained network on a protocol.

python -m nasfas_jax.main --config=configs/evaluate.py \
    --config.checkpoint=runs/search \
    --config.protocol=synthetic_fas/cross_domain/office
  The network and its input come from the run's own config. So do the crop and
  the number of snippets, unless they are given.
"""

import ml_collections
from ml_collections import config_dict

from nasfas_configs import default as default_lib
from nasfas_configs import variants as variants_lib


def get_config(variants: str = '') -> ml_collections.ConfigDict:
  """Returns the config, which has no variants."""
  config = default_lib.get_config()
  config.experiment = 'evaluate'
  del config.data.eval_face_scale, config.data.num_snippets
  config.data.eval_face_scale = config_dict.placeholder(float)
  config.data.num_snippets = config_dict.placeholder(int)
  return variants_lib.compose(config, variants, {}, file='evaluate.py')
