"""What the search is worth: many small runs on synthetic_fas, and their table.

python -m nasfas_jax.main --config=configs/study.py --workdir=runs/study
  Some hours on two CPU cores. Resumable: the same command goes on, and prints
  and draws what is finished. Run it in the repository's folder: every run is
  one of the other configs with the settings below.
--config=configs/study.py:debug
  The same on the builder config 'tiny' with one run of each kind; says nothing.
"""

import ml_collections

from configs import default as default_lib

VARIANTS = ('default', 'debug')
REMEDIES = {
  'learned_rates': '--config.meta.learn_rates=True',
  'three_inner_steps': '--config.meta.inner_steps=3',
  'longer_warmup': '--config.search.warmup_steps=40',
  'larger_query': '--config.meta.query_size=8',
  'annealed_steps': (
    '--config.meta.inner_steps=3 --config.meta.anneal_steps=40'
  ),
  'domain_statistics': '--config.meta.domain_statistics=True',
  'longer_search': (
    '--config.search.num_steps=240 --config.search.warmup_steps=80'
  ),
}


def get_config(variant: str = 'default') -> ml_collections.ConfigDict:
  """Returns the config of a variant.

  Raises:
    ValueError: for an unknown variant.
  """
  default_lib.check_variant(variant, VARIANTS, 'study.py')
  config = default_lib.get_config()
  config.experiment = 'study'
  name = 'synthetic_fas'
  config.study = ml_collections.ConfigDict(
    {
      # Runs at a time; they share the CPUs out. 0 runs none and reports what is
      # finished.
      'num_workers': 2,
      'seeds': (0, 1, 2, 3, 4),
      # The first is that of the random genotypes, the evolutions and the
      # remedies.
      'protocols': (
        f'{name}/cross_domain/night',
        f'{name}/cross_type/replay',
        f'{name}/cross_domain_type/night',
      ),
      # Of configs/search.py.
      'searches': ('plain', 'domain', 'type'),
      # Of configs/search.py too, on the first protocol.
      'evolutions': ('evolution', 'evolution_domain'),
      # Genotypes at random, each trained once, from its own seed.
      'random': 40,
      # Inputs, compared on CDCN++.
      'fusions': ('static', 'dynamic', 'blend', 'concat'),
      'fusion_protocols': (f'{name}/intra', f'{name}/cross_domain/night'),
      # Changes of the domain-aware search, and the names of those that are run.
      'remedies': REMEDIES,
      'chosen_remedies': tuple(REMEDIES),
      # Of every search, and of every run.
      'search_settings': (
        '--config.search.num_steps=60 --config.search.warmup_steps=20'
      ),
      'settings': (
        '--config.train.num_steps=200 --config.train.warmup_steps=40 '
        '--config.evaluate.num_samples=0 '
        '--config.evaluate.bootstrap_samples=200 --config.checkpoint_every=0'
      ),
      # Of the evolutions, by name, after those above. They give them the budget
      # of the search over tasks, in clips through the supernet, those of a
      # gradient counted three times for the way back. That search takes
      # 60 * 16 * 3 = 2,880, the plain one (60 + 40) * 8 * 3 = 2,400, an
      # evolution 60 * 8 * 3 + 15 * (64 + 32) = 2,880, one over three rooms
      # 3 * 20 * 8 * 3 + 9 * (63 + 3 * 32) = 2,871, one over four attack types,
      # for a first protocol of cross_type, 4 * 12 * 8 * 3 + 9 * (64 + 4 * 32) =
      # 2,880.
      'evolution_settings': {
        'evolution': (
          '--config.evolution.population=4 --config.evolution.evaluations=15'
        ),
        'evolution_domain': (
          '--config.evolution.population=4 --config.evolution.evaluations=9 '
          '--config.search.num_steps=20 --config.search.warmup_steps=0'
        ),
        'evolution_type': (
          '--config.evolution.population=4 --config.evolution.evaluations=9 '
          '--config.search.num_steps=12 --config.search.warmup_steps=0'
        ),
      },
      # Searches whose supernets score the random genotypes.
      'supernets': ('plain', 'domain'),
      # Dev clips that they are scored on.
      'supernet_clips': 96,
      'bootstrap_samples': 1000,
    }
  )
  if variant == 'debug':
    _debug(config.study)
    config.data.builder_config = 'tiny'
  return config


def _debug(study: ml_collections.ConfigDict) -> None:
  study.seeds = (0,)
  study.protocols = study.protocols[:1]
  study.searches = ('domain',)
  study.evolutions = ('evolution',)
  study.evolution_settings = ml_collections.ConfigDict({'evolution': ''})
  study.supernets = ('domain',)
  study.random = 2
  study.fusions = ('static',)
  study.fusion_protocols = study.fusion_protocols[:1]
  study.chosen_remedies = ()
  study.supernet_clips = 8
  study.bootstrap_samples = 20
  sizes = (
    *('image_size=16', 'num_frames=2'),
    *(
      f'{part}.{field}'
      for part in ('network', 'supernet')
      for field in (
        *('stem_features=(2,4)', 'cell_features=4'),
        *('head_features=4', 'output_size=4'),
      )
    ),
  )
  settings = [
    f'--config.{"data." if size[:4] in ("imag", "num_") else ""}{size}'
    for size in sizes
  ]
  study.search_settings = (
    '--config.search.num_steps=2 --config.search.warmup_steps=1 '
    '--config.supernet.num_nodes=1 --config.evolution.population=2 '
    '--config.evolution.evaluations=3 --config.evolution.num_clips=8'
  )
  study.settings = ' '.join(
    (
      *settings,
      '--config.train.num_steps=1 --config.train.warmup_steps=0',
      '--config.train.batch_size=4 --config.evaluate.batch_size=8',
      '--config.evaluate.num_samples=0 --config.evaluate.bootstrap_samples=2',
      '--config.data.builder_config=tiny',
    )
  )
