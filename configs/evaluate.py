"""Evaluate a trained network on a protocol, or the scores of any system.

python -m nasfas_jax.main --config=evaluate \
    --config.checkpoint=runs/search \
    --config.protocol=synthetic_fas/seen_rooms
  The network and its input come from the run's own config. So do the protocol,
  the crop, the number of snippets and the builder config, unless they are
  given. The clips of the test set are enough.
--config=evaluate --config.scores=scores.csv
  Scores with the columns clip, label, type, subject, score, split.
--config.threshold=eer, apcer=0.05, bpcer=0.01, run or a number
  The threshold: by a rule on the dev clips, that of the run, or the number.
"""

import ml_collections
from ml_collections import config_dict

from nasfas_configs import default as default_lib
from nasfas_configs import variants as variants_lib


def get_config(variants: str = '') -> ml_collections.ConfigDict:
  """Returns the config, which has no variants."""
  config = default_lib.get_config()
  config.experiment = 'evaluate'
  # '': that of the run.
  config.protocol = ''
  # '': the rule of the run; if no dev clips are prepared, 'run'.
  config.threshold = ''
  del config.data.eval_face_scale, config.data.num_snippets
  config.data.eval_face_scale = config_dict.placeholder(float)
  config.data.num_snippets = config_dict.placeholder(int)
  return variants_lib.compose(config, variants, {}, file='evaluate.py')
