"""Set the threshold of a run from a few live clips of the place of its use.

python -m nasfas_jax.main --config=calibrate \\
    --config.checkpoint=runs/search --config.input=live_clips
  The input is a file, a folder or a pattern, as in configs/predict.py, and
  holds live faces only. Writes threshold.json into the run's folder, which
  predict and load then use. Deleting the file undoes it. See docs/judging.md.
--config.scores=scores.csv
  Scores of the run instead of files: its live clips are used.
"""

import ml_collections

from nasfas_configs import predict as predict_lib
from nasfas_configs import variants as variants_lib


def get_config(variants: str = '') -> ml_collections.ConfigDict:
  """Returns the config, which has no variants."""
  config = predict_lib.get_config()
  config.experiment = 'calibrate'
  # Fields of a decision, which a calibration does not make.
  del config.output, config.output_videos, config.threshold, config.camera
  # A CSV file of scores instead of config.input.
  config.scores = ''
  # The BPCER that the threshold keeps with 95 % confidence.
  config.bpcer = 0.05
  return variants_lib.compose(config, variants, {}, file='calibrate.py')
