"""Search, then train and evaluate the derived network.

python -m nasfas_jax.main --config=configs/search.py --workdir=runs/search
  Domain-aware, over tasks that each hold out a domain. 64x64, CPU size: about
  six minutes on two CPU cores, one of them to render the embedded dataset the
  first time.
--config=configs/search.py:domain, :type, :domain_type, :plain
  What the tasks hold out; the first is the default, the last has no tasks.
--config=configs/search.py:evolution, :random
  The controls: an evolution with weight sharing, and a genotype at random.
--config=configs/search.py:evolution_domain, :evolution_type
  The evolution over tasks: genotypes are scored on what was held out.
--config=configs/search.py:debug
  The smallest whole run, on the builder config 'tiny': about a minute, most of
  it compiling.
--config=configs/search.py:paper, :paper_domain, :paper_type
  256x256 with the published setting of CDCN++'s search (60 epochs, batch 12,
  architecture frozen for 10 epochs); needs an accelerator. An epoch is counted
  on one half of the 1,200 training clips of OULU-NPU protocol 1. `:paper` is
  the plain search, the others hold out a domain or a type.
"""

import ml_collections

from configs import default as default_lib

# What the tasks of each variant hold out.
TASKS = {
  'default': 'domain',
  'domain': 'domain',
  'type': 'type',
  'domain_type': 'domain_type',
  'plain': 'none',
  'evolution': 'none',
  'evolution_domain': 'domain',
  'evolution_type': 'type',
  'random': 'none',
  'debug': 'domain',
  'paper': 'none',
  'paper_domain': 'domain',
  'paper_type': 'type',
}
VARIANTS = tuple(TASKS)


def get_config(variant: str = 'default') -> ml_collections.ConfigDict:
  """Returns the config of a variant.

  Raises:
    ValueError: for an unknown variant.
  """
  default_lib.check_variant(variant, VARIANTS, 'search.py')
  config = default_lib.get_config()
  config.experiment = 'search'
  config.search.tasks = TASKS[variant]
  if variant == 'random' or variant.startswith('evolution'):
    config.search.algorithm = variant.partition('_')[0]
  elif variant == 'debug':
    _debug(config)
  elif variant.startswith('paper'):
    _paper(config)
  return config


def _debug(config: ml_collections.ConfigDict) -> None:
  config.data.builder_config = 'tiny'
  config.data.image_size = 32
  config.data.num_frames = 4
  config.checkpoint_every = 4
  config.log_every = 2
  for part in (config.network, config.supernet):
    part.stem_features = (4, 8)
    part.cell_features = 8
    part.head_features = 8
    part.output_size = 8
  config.supernet.num_nodes = 2
  config.search.num_steps = 8
  config.search.batch_size = 8
  config.search.warmup_steps = 2
  config.search.arch_every = 2
  config.train.num_steps = 8
  config.train.batch_size = 8
  config.train.warmup_steps = 2
  config.evaluate.batch_size = 8
  config.evaluate.bootstrap_samples = 100
  config.evaluate.num_samples = 8


def _paper(config: ml_collections.ConfigDict) -> None:
  steps_per_epoch = 600 // 12
  config.data.image_size = 256
  config.data.eval_face_scale = 1.3
  config.data.num_snippets = 4
  config.data.num_workers = 8
  config.augmentation.face_scale = (1.2, 1.4)
  config.augmentation.erase = 0.5
  config.augmentation.cutout = 0.5
  config.input.fusion = 'blend'
  config.input.normalization = 'fixed'
  config.checkpoint_every = 10 * steps_per_epoch
  config.network.stem_features = (64, 128)
  config.network.cell_features = 128
  config.network.head_features = 128
  config.network.output_size = 32
  config.supernet.stem_features = (32, 64)
  config.supernet.cell_features = 128
  config.supernet.head_features = 64
  config.supernet.output_size = 32
  config.supernet.partial_channels = 4
  config.supernet.remat = True
  config.search.num_steps = 60 * steps_per_epoch
  config.search.batch_size = 12
  config.search.warmup_steps = 10 * steps_per_epoch
  # About as many clips a step as the plain search's two batches of 12, and a
  # number of tasks that 2 to 16 devices divide.
  config.meta.num_tasks = 4
  config.meta.support_size = 4
  config.meta.query_size = 4
  config.meta.inner_rate = 1e-2
  config.search.weight_learning_rate = 1e-4
  config.search.weight_schedule = 'constant'
  config.search.arch_learning_rate = 6e-4
  config.search.arch_weight_decay = 1e-3
  config.search.arch_every = steps_per_epoch
  config.search.gradient_clip = 0.0
  # Retraining: 1,300 epochs over 1,200 clips, the rate halved every 500.
  epoch = 1200 // 12
  config.train.batch_size = 12
  config.train.num_steps = 1300 * epoch
  config.train.learning_rate = 1e-4
  config.train.warmup_steps = 0
  config.train.schedule = 'step'
  config.train.step_size = 500 * epoch
  config.train.gradient_clip = 0.0
