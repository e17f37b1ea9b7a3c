"""Search an architecture, then train and evaluate the derived network.

python -m nasfas_jax.main --config=search --workdir=runs/search
  A domain-aware search: each task holds out a domain. 64x64, sized for a CPU:
  about six and a half minutes on two CPU cores. The first time it also renders
  the embedded dataset, in a minute and a half.

Variants follow a colon and compose, in any order: search:debug,type

domain, type, domain_type, plain
  What the tasks hold out. `domain` is the default; `plain` has no tasks.
evolution, random
  The controls: an evolution with weight sharing, and a random genotype. Neither
  has tasks; `evolution,domain` scores genotypes on held-out domains.
second_order
  Differentiates through the inner steps of the weights.
perturbation
  Derives the genotype by what the loss becomes without an operation (DARTS-PT),
  not by the operations' weights.
debug
  The smallest whole run, on the builder config 'tiny': about a minute, most of
  it compiling. Its two training subjects are too few for `domain_type`.
paper
  256x256, in the published setting of CDCN++'s search: 60 epochs, batch size
  12, the architecture frozen for 10 epochs. Needs an accelerator. An epoch is
  one half of the 1,200 training clips of OULU-NPU protocol 1. It has no tasks;
  `paper,domain` and `paper,type` have.
bf16
  Computes in bfloat16 on CPU too; parameters and statistics stay float32.
"""

import ml_collections

from nasfas_configs import default as default_lib
from nasfas_configs import variants as variants_lib


def get_config(variants: str = '') -> ml_collections.ConfigDict:
  """Returns the default config with the changes of the variants.

  Raises:
    ValueError: for an unknown variant, or two that exclude each other.
  """
  config = default_lib.get_config()
  config.experiment = 'search'
  return variants_lib.compose(
    config, variants, GROUPS, file='search.py', conflicts=CONFLICTS
  )


def debug(config: ml_collections.ConfigDict) -> None:
  """The smallest whole run."""
  config.data.builder_config = 'tiny'
  config.data.image_size = 32
  config.data.num_snippets = 1
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


def paper(config: ml_collections.ConfigDict) -> None:
  """256x256, in the published setting."""
  steps_per_epoch = 600 // 12
  config.data.image_size = 256
  config.data.num_frames = 8
  config.data.eval_face_scale = 1.3
  config.data.num_snippets = 4
  config.data.num_workers = 8
  config.augmentation.face_scale = (1.2, 1.4)
  config.augmentation.shift = 0.0
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
  config.supernet.edge_loop = True
  config.search.hold_out = 'none'
  config.search.num_steps = 60 * steps_per_epoch
  config.search.batch_size = 12
  config.search.warmup_steps = 10 * steps_per_epoch
  # About as many clips per step as the plain search's two batches of 12; 2, 4,
  # 8 or 16 devices can share the tasks and their clips evenly.
  config.meta.num_tasks = 4
  config.meta.support_size = 4
  config.meta.query_size = 4
  config.meta.inner_lr = 1e-2
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


def bf16(config: ml_collections.ConfigDict) -> None:
  """Computes in bfloat16."""
  config.dtype = 'bfloat16'


def _control(algorithm: str) -> variants_lib.Change:
  def change(config):
    config.search.algorithm = algorithm
    config.search.hold_out = 'none'

  return change


def _hold_out(value: str) -> variants_lib.Change:
  def change(config):
    config.search.hold_out = value

  return change


def _second_order(config: ml_collections.ConfigDict) -> None:
  config.search.second_order = True


def _perturbation(config: ml_collections.ConfigDict) -> None:
  config.search.selection = 'perturbation'


SIZES = {'debug': debug, 'paper': paper}
DTYPES = {'bf16': bf16}
# Sizes and controls also set hold_out, so the variants that choose it follow.
GROUPS = {
  'size': SIZES,
  'algorithm': {name: _control(name) for name in ('evolution', 'random')},
  'hold-out': {
    **{name: _hold_out(name) for name in ('domain', 'type', 'domain_type')},
    'plain': _hold_out('none'),
  },
  'order': {'second_order': _second_order},
  'selection': {'perturbation': _perturbation},
  'dtype': DTYPES,
}
# A random genotype has no tasks; only the gradient search has a second order,
# and a mixture whose parts can be removed.
CONFLICTS = (
  *(('random', name) for name in ('domain', 'type', 'domain_type')),
  *((name, 'second_order') for name in ('evolution', 'random')),
  *((name, 'perturbation') for name in ('evolution', 'random')),
)
