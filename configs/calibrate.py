"""Set the threshold of a run from a few live clips of the place of its use.

python -m nasfas_jax.main --config=calibrate \\
    --config.checkpoint=runs/search --config.input=live_clips
  The input is a file, a folder or a pattern, as in configs/predict.py, and
  holds live faces only. Writes threshold.json into the run's folder, which
  predict and load then use. Deleting the file undoes it. See docs/judging.md.
--config.statistics.adapt=True --config.subjects=folder
  Also moves the network's batch statistics towards those of a part of the
  persons, each in a folder of their own, and sets the threshold on the others.
  Both go to the run's folder adapted/, for those who ask for it.
--config.scores=scores.csv --config.split=dev
  Scores of the run instead of files: the live clips of one split are used.
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
  # It is what --config.statistics.adapt makes.
  del config.adapted
  # A CSV file of scores instead of config.input.
  config.scores = ''
  # The split of config.scores whose live clips count, dev or test; of a file
  # without a column `split` all do.
  config.split = 'dev'
  # The BPCER that the threshold keeps with 95 % confidence.
  config.bpcer = 0.05
  # Who is in a clip: '' is not known, which is warned of; 'folder': each folder
  # in config.input is a person.
  config.subjects = ''
  config.statistics = ml_collections.ConfigDict(
    {
      # Adapt the batch statistics too.
      'adapt': False,
      # n clips have the weight n / (n + this). So few clips of a few persons,
      # all live, change little, and the training is never forgotten; 16 clips
      # count as much as the training.
      'prior_clips': 16,
      # The most clips that give statistics. They are one batch, so memory grows
      # with them; 64 have a weight of 0.8.
      'max_clips': 64,
      # By how much the AUC on the run's own test set may fall.
      'auc_tolerance': 0.02,
      # Write them even if it falls by more.
      'accept_worse': False,
      # Folder of prepared datasets with that test set; '' is that of the run.
      'data_dir': '',
    }
  )
  return variants_lib.compose(config, variants, {}, file='calibrate.py')
