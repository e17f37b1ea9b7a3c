"""What the search is worth: many small runs on synthetic_fas, and their tables.

python -m nasfas_jax.main --config=study --workdir=runs/study
  Some hours on two CPU cores. The same command resumes it, and reports the
  finished runs. Every run is one of the other configs with the settings below.
--config=study:ceiling
  Another question: what could a search gain at most? Random genotypes, several
  trainings of each. The runs take the fields of this config itself.
--config=study:fit
  Another: which settings err least on new subjects in the seen rooms? Chosen by
  their dev EER, then judged once in the unseen rooms.
--config=study:generalise
  Another: which training generalises? Chosen on seen rooms, one of which is
  left out, then run once on the unseen ones and on unseen attack types.
--config=study:ceiling,wide
  The same of a space that also chooses width, depth, theta of each operation,
  fusion of the frames and normalization.
--config=study:search
  Which search finds better networks than chance, at equal cost? What chance
  finds is in the ceiling.json of config.study.contest.ceiling.
--config=study:search,short
  The same of searches as short as those of configs/search.py, against the
  genotype with the fewest parameters.
--config=study:search,short,long
  Of these the domain-aware search and the fewest parameters, trained as long as
  by default.
--config=study:search,short,small
  Is it their size? The domain-aware search with and without a weight of the
  expected cost, and the fewest parameters.
--config=study:debug, :ceiling,debug, :ceiling,wide,debug, :search,debug,
    :fit,debug, :generalise,debug
  One run of each kind on the builder config 'tiny'. Its figures mean nothing.
"""

import ml_collections

from nasfas_configs import default as default_lib
from nasfas_configs import search as search_lib
from nasfas_configs import variants as variants_lib

# Settings of a run are fields with their values, nested as in default.py.
REMEDIES = {
  'learned_rates': {'meta': {'learn_inner_lr': True}},
  'three_inner_steps': {'meta': {'inner_steps': 3}},
  'longer_warmup': {'search': {'warmup_steps': 40}},
  'larger_query': {'meta': {'query_size': 8}},
  'annealed_steps': {'meta': {'inner_steps': 3, 'anneal_steps': 40}},
  'domain_statistics': {'meta': {'domain_statistics': True}},
  'longer_search': {'search': {'num_steps': 240, 'warmup_steps': 80}},
}

# Every search that trains has the cost of 8 whole trainings of 400 steps, 3,200
# steps of 16 clips. A clip costs what its network does, in
# multiply-accumulates, and three times that with a gradient. The supernet of
# the space 'cdcnpp' has 5.8 times those of a random genotype (272 against 47
# million), so that a step of 16 clips through it counts 5.8 steps. Selection by
# perturbation takes 249 passes over 2 batches of 8 clips without a gradient.
# tests/study/test_contest.py counts all of it.
_TASKS = {'num_steps': 550, 'warmup_steps': 180}
_TASKS_PERTURBED = {
  **{'num_steps': 465, 'warmup_steps': 155, 'selection_batches': 2},
}
_PLAIN = {'num_steps': 660, 'warmup_steps': 220}
_PLAIN_PERTURBED = {
  **{'num_steps': 560, 'warmup_steps': 187, 'selection_batches': 2},
}
CONTEST = {
  'space': 'cdcnpp',
  'seeds': tuple(range(10)),
  # Trainings of what a search chose, from seeds that no search has seen.
  'final_seeds': 2,
  # Searches without a supernet.
  'methods': (
    *('random', 'halving', 'evolution'),
    *('parameters', 'fewest_parameters', 'synflow', 'naswot'),
  ),
  # Random search: whole trainings.
  'random': 8,
  # Successive halving: (candidates, steps of a training, seeds of each).
  'rungs': ((18, 60, 1), (5, 100, 2), (2, 180, 3)),
  # Regularised evolution.
  'evolution': {
    **{'evaluations': 16, 'population': 5, 'sample': 2, 'num_steps': 200},
  },
  # Genotypes that a score without training chooses from.
  'candidates': 40,
  # Clips that such a score looks at.
  'clips': 16,
  # Searches by gradient: variants of configs/search.py, and what they set.
  'gradients': {
    'plain': {'variants': 'plain', 'settings': {'search': _PLAIN}},
    'plain_perturbation': {
      'variants': 'plain,perturbation',
      'settings': {'search': _PLAIN_PERTURBED},
    },
    'domain': {'variants': 'domain', 'settings': {'search': _TASKS}},
    'domain_perturbation': {
      'variants': 'domain,perturbation',
      'settings': {'search': _TASKS_PERTURBED},
    },
    'type': {'variants': 'type', 'settings': {'search': _TASKS}},
    'type_perturbation': {
      'variants': 'type,perturbation',
      'settings': {'search': _TASKS_PERTURBED},
    },
  },
  # ceiling.json of the same space: its genotypes are the random ones.
  'ceiling': '',
}


# Searches of the length in configs/search.py, which is what its users get. They
# cost 1.2 (plain) to 1.5 whole trainings of 400 steps, counted as above. So at
# their cost a random search has one training: it is a random genotype, and
# those are in the ceiling.json.
SHORT_CONTEST = {
  'methods': ('fewest_parameters',),
  'final_seeds': 1,
  'gradients': {
    name: {'variants': name, 'settings': {}}
    for name in ('plain', 'domain', 'type')
  },
}

# The weight of the expected cost. Of the weights 0.001, 0.003 and 0.01 that one
# was taken with which a search from seed 100 chose a network about as large as
# a random genotype (29,540 parameters): 34,002; the others chose 50,902 and
# 11,222, a search without the cost 63,436. Nothing was trained.
SMALL_CONTEST = {
  'domain': {'variants': 'domain', 'settings': {}},
  'domain_small': {
    'variants': 'domain',
    'settings': {'search': {'cost_weight': 0.003}},
  },
}


# Settings that may err less on new subjects than plain training: longer, with
# clips that look different each time they come. Single trainings from seed 100,
# judged by dev alone, led to these.
_LONG = {'train': {'num_steps': 1600}}
_SHIFT = {'shift': 0.1}
_SNIPPETS = {'data': {'num_frames': 4, 'num_snippets': 5}}
FIT_ARMS = {
  'plain': {},
  'long': _LONG,
  # Four frames of the eight, from a random one on; five scores are averaged.
  'snippets': _SNIPPETS,
  'snippets_shift': {**_SNIPPETS, 'augmentation': _SHIFT},
  'snippets_shift_long': {**_LONG, **_SNIPPETS, 'augmentation': _SHIFT},
  'all_long': {
    **_LONG,
    **_SNIPPETS,
    'augmentation': {**_SHIFT, 'erase': 0.5, 'cutout': 0.5},
  },
}

# The attack types of version 2.0.0 of synthetic_fas.
ATTACKS = ('print', 'print_cut', 'replay', 'mask_rigid', 'mask_paper')

# What is compared with plain training, the default. Probability and
# Beta of MixStyle are those of its paper; no weight or strength was tuned.
_BALANCED = {'data': {'balance': 'domain_class'}}
_TRIPLET, _ADVERSARIAL = {'triplet': 0.1}, {'adversarial': 0.02}
ARMS = {
  'plain': {},
  'balance': _BALANCED,
  # Two snippets of 32 clips.
  'test_statistics': {'evaluate': {'batch_norm': 'test', 'batch_size': 64}},
  'mix_style': {'mix_style': {'probability': 0.5}},
  'triplet': {'loss': _TRIPLET},
  'adversarial': {'loss': _ADVERSARIAL},
  'ssdg': {'loss': {**_TRIPLET, **_ADVERSARIAL}},
  'mldg_first': {**_BALANCED, 'train': {'meta': 'first'}},
  'mldg_second': {**_BALANCED, 'train': {'meta': 'second'}},
  'domain_statistics': {
    **_BALANCED,
    'train': {'domain_statistics': True},
    'evaluate': {'batch_norm': 'test_domain', 'batch_size': 64},
  },
  # The default networks lose most live clips of the unseen room that is noisy
  # and blurred. Erasing and cutout did not help in `FIT_ARMS`.
  'noise': {'augmentation': {'noise': 8.0}},
  'sensor': {'augmentation': {'noise': 8.0, 'blur': 1.5, 'compression': 70.0}},
  'mask': {
    'loss': {
      **{'depth': 0.0, 'contrastive_depth': 0.0},
      **{'binary_mask': 1.0, 'contrastive_mask': 1.0},
    }
  },
}


def get_config(variants: str = '') -> ml_collections.ConfigDict:
  """Returns the config with the changes of the variants.

  Raises:
    ValueError: for an unknown variant.
  """
  config = default_lib.get_config()
  config.experiment = 'study'
  name = 'synthetic_fas'
  config.study = ml_collections.ConfigDict(
    {
      # 'worth': are searched networks better than others? 'ceiling': what could
      # a search gain at most? 'search': which search gains how much of it?
      # 'fit': which settings err least on new subjects in the seen rooms?
      # 'generalise': which training helps in unseen rooms and on unseen types?
      'question': 'worth',
      # Runs at the same time, which divide the CPUs among them. 0 starts none
      # and reports the finished ones.
      'num_workers': 2,
      # Trainings that differ in their seed only are one run, side by side.
      'together': True,
      # The question 'ceiling': random genotypes, and trainings of each. The
      # genotype g has the seeds g * seeds, g * seeds + 1, ... With three,
      # no ceiling below the luck of a seed could be told.
      'ceiling': {
        **{'space': 'cdcnpp', 'genotypes': 40, 'seeds': 5},
        # ceiling.json of an earlier workdir, perhaps of fewer genotypes. Those
        # that it knows are not trained again.
        'earlier': '',
        # Clips that the scores of untrained networks look at. What a choice by
        # such a score would gain is reported once all trainings are finished;
        # 0 leaves it out.
        'clips': 16,
      },
      # The question 'search', see _contest below.
      'contest': _apart(CONTEST),
      # The question 'fit': trainings, each from every seed, chosen by dev EER.
      'fit': {
        'arms': _apart(FIT_ARMS),
        'seeds': (101, 102, 103, 104),
        'choose_on': (f'{name}/seen_rooms',),
        'bootstrap_samples': 1000,
      },
      # The question 'generalise': trainings, each from every seed. The seeds
      # take turns among the protocols that leave a seen room out. There is a
      # room less there, and a batch holds each room and class once.
      'generalise': {
        'arms': _apart(ARMS),
        'seeds': tuple(range(10)),
        # After some seeds the best arms go on, and plain training.
        'first_seeds': 4,
        'keep': 4,
        'choose_on': tuple(f'{name}/seen_room/room0{i}' for i in range(8)),
        'choose_settings': {'train': {'batch_size': 14}},
        # The winner is judged on these, too; the seeds take turns. All twelve
        # rooms are trained on. The clips are as many as in the default; these
        # settings go before those of config.train.
        'types': tuple(f'{name}/type/{attack}' for attack in ATTACKS),
        'types_settings': {'train': {'batch_size': 24, 'num_steps': 800}},
        'bootstrap_samples': 1000,
        # generalise.json of an earlier workdir. What it knows is not trained
        # again; of the unseen rooms only if it has all of it.
        'earlier': '',
      },
      # All that follows is of the question 'worth'.
      'seeds': (0, 1, 2, 3, 4),
      # The first is that of the random genotypes, the evolutions and the
      # remedies.
      'protocols': (
        f'{name}/cross_domain/night',
        f'{name}/cross_type/replay',
        f'{name}/cross_domain_type/night',
      ),
      # Variants of configs/search.py.
      'searches': ('plain', 'domain', 'type'),
      # Names in evolution_settings; they run on the first protocol.
      'evolutions': ('evolution', 'evolution_domain'),
      # Number of random genotypes, each trained once, from its own seed.
      'random': 40,
      # Input fusions, compared on CDCN++.
      'fusions': ('static', 'dynamic', 'blend', 'concat'),
      'fusion_protocols': (f'{name}/intra', f'{name}/cross_domain/night'),
      # Changes to the domain-aware search, and the names of those to run.
      'remedies': REMEDIES,
      'chosen_remedies': tuple(REMEDIES),
      # Settings of every search, and of every run.
      'search_settings': {'search': {'num_steps': 60, 'warmup_steps': 20}},
      'settings': {
        'data': {'num_frames': 8, 'num_snippets': 1},
        'augmentation': {'shift': 0.0},
        'train': {'num_steps': 200, 'warmup_steps': 40},
        'evaluate': {'num_samples': 0, 'bootstrap_samples': 200},
        'checkpoint_every': 0,
      },
      # Name of an evolution -> its variants of configs/search.py, and settings
      # that apply after those above. All have the budget of the search over
      # tasks, counted in clips through the supernet; a clip with a gradient
      # counts three times, for the backward pass:
      #   search over tasks: 60 * 16 * 3 = 2,880
      #   plain search: (60 + 40) * 8 * 3 = 2,400
      #   evolution: 60 * 8 * 3 + 15 * (64 + 32) = 2,880
      #   evolution over three rooms: 3 * 20 * 8 * 3 + 9 * (63 + 3 * 32) = 2,871
      #   evolution over four attack types (on cross_type):
      #     4 * 12 * 8 * 3 + 9 * (64 + 4 * 32) = 2,880
      'evolution_settings': {
        'evolution': {
          'variants': 'evolution',
          'settings': {'evolution': {'population': 4, 'evaluations': 15}},
        },
        'evolution_domain': {
          'variants': 'evolution,domain',
          'settings': {
            'evolution': {'population': 4, 'evaluations': 9},
            'search': {'num_steps': 20, 'warmup_steps': 0},
          },
        },
        'evolution_type': {
          'variants': 'evolution,type',
          'settings': {
            'evolution': {'population': 4, 'evaluations': 9},
            'search': {'num_steps': 12, 'warmup_steps': 0},
          },
        },
      },
      # The searches whose supernets score the random genotypes.
      'supernets': ('plain', 'domain'),
      # Number of dev clips for those scores.
      'supernet_clips': 96,
      'bootstrap_samples': 1000,
    }
  )
  return variants_lib.compose(
    config, variants, GROUPS, file='study.py', conflicts=CONFLICTS
  )


def _apart(fields: dict) -> dict:
  """Fields that share no dict, which a config would take for one field."""
  return {
    name: _apart(value) if isinstance(value, dict) else value
    for name, value in fields.items()
  }


def _ceiling(config: ml_collections.ConfigDict) -> None:
  config.study.question = 'ceiling'
  _trainings(config)


def _contest(config: ml_collections.ConfigDict) -> None:
  config.study.question = 'search'
  _trainings(config)


def _trainings(config: ml_collections.ConfigDict) -> None:
  """What both questions train: the same, so that one can read the other."""
  config.protocol = 'synthetic_fas/unseen_rooms'
  # A third of a default run: 200 trainings have to end in some hours.
  config.train.num_steps = 400
  config.train.warmup_steps = 50
  config.data.num_snippets = 2
  config.evaluate.num_samples = 0
  config.evaluate.bootstrap_samples = 200
  config.checkpoint_every = 0


def _fit(config: ml_collections.ConfigDict) -> None:
  config.study.question = 'fit'
  _arms(config)
  # Plain training: the default one before this question was answered.
  config.data.num_frames = 8
  config.data.num_snippets = 1
  config.augmentation.shift = 0.0
  config.train.num_steps = 800


def _generalise(config: ml_collections.ConfigDict) -> None:
  config.study.question = 'generalise'
  _arms(config)


def _arms(config: ml_collections.ConfigDict) -> None:
  """What both questions train."""
  config.protocol = 'synthetic_fas/unseen_rooms'
  config.model = 'cdcnpp'
  config.data.num_snippets = 2
  config.evaluate.num_samples = 0
  config.evaluate.bootstrap_samples = 200
  config.checkpoint_every = 0


def _wide(config: ml_collections.ConfigDict) -> None:
  if config.study.question == 'ceiling':
    config.study.ceiling.space = 'wide'
    # The fewest that can tell a ceiling from the luck of a seed, for the hours.
    config.study.ceiling.seeds = 3
  elif config.study.question == 'search':
    config.study.contest.space = 'wide'
    # No supernet has it.
    config.study.contest.gradients = ml_collections.ConfigDict()
  else:
    raise ValueError(
      "configs/study.py: the variant 'wide' needs a question, 'ceiling' or "
      "'search'."
    )


def _short(config: ml_collections.ConfigDict) -> None:
  if config.study.question != 'search':
    raise ValueError(
      "configs/study.py: the variant 'short' needs the question 'search'."
    )
  contest = config.study.contest
  # Those of CONTEST go.
  contest.gradients = ml_collections.ConfigDict()
  contest.update(ml_collections.ConfigDict(SHORT_CONTEST))


def _long(config: ml_collections.ConfigDict) -> None:
  contest = config.study.contest
  if tuple(contest.methods) != SHORT_CONTEST['methods']:
    raise ValueError(
      "configs/study.py: the variant 'long' needs the variant 'short'."
    )
  contest.seeds = tuple(range(5))
  for name in ('plain', 'type'):
    del contest.gradients[name]
  default = default_lib.get_config().train
  config.train.num_steps = default.num_steps
  config.train.warmup_steps = default.warmup_steps


def _small(config: ml_collections.ConfigDict) -> None:
  contest = config.study.contest
  if tuple(contest.methods) != SHORT_CONTEST['methods']:
    raise ValueError(
      "configs/study.py: the variant 'small' needs the variant 'short'."
    )
  contest.gradients = ml_collections.ConfigDict(_apart(SMALL_CONTEST))


def _debug(config: ml_collections.ConfigDict) -> None:
  if config.study.question != 'worth':
    search_lib.debug(config)
    config.train.num_steps = 2
    config.train.warmup_steps = 0
    config.evaluate.num_samples = 0
    config.checkpoint_every = 0
    config.supernet.num_nodes = 1
    if config.study.question == 'ceiling':
      config.study.ceiling.update(genotypes=2, seeds=2)
      return
    if config.study.question == 'fit':
      sizes = config.study.fit
      for name in set(FIT_ARMS) - {'plain', 'snippets'}:
        del sizes.arms[name]
      sizes.arms.snippets.data.num_frames = 1
      sizes.seeds = (101, 102)
      sizes.bootstrap_samples = 20
      return
    if config.study.question == 'generalise':
      # Four rooms are seen there.
      config.train.batch_size = 8
      sizes = config.study.generalise
      for name in set(ARMS) - {
        'plain',
        'test_statistics',
        'ssdg',
        'mldg_first',
      }:
        del sizes.arms[name]
      sizes.update(seeds=(0,), first_seeds=1, keep=1)
      sizes.choose_on = sizes.choose_on[:1]
      sizes.types = sizes.types[:1]
      sizes.types_settings.train.update(batch_size=12, num_steps=2)
      sizes.choose_settings.train.batch_size = 6
      sizes.bootstrap_samples = 20
      return
    contest = config.study.contest
    contest.update(seeds=(0,), final_seeds=1, random=1, candidates=2, clips=4)
    contest.methods = ('halving', 'evolution', 'naswot')
    contest.rungs = ((2, 1, 1), (1, 1, 2))
    contest.evolution.update(evaluations=2, population=1, sample=1, num_steps=1)
    if contest.gradients:
      contest.gradients = ml_collections.ConfigDict(
        {
          'plain_perturbation': {
            'variants': 'plain,perturbation',
            'settings': {
              'search': {
                **{'num_steps': 2, 'warmup_steps': 1, 'selection_batches': 1},
                'batch_size': 4,
              }
            },
          }
        }
      )
    return
  config.data.builder_config = 'tiny'
  study = config.study
  study.seeds = (0,)
  study.protocols = study.protocols[:1]
  study.searches = ('domain',)
  study.evolutions = ('evolution',)
  study.evolution_settings = ml_collections.ConfigDict(
    {'evolution': {'variants': 'evolution', 'settings': {}}}
  )
  study.supernets = ('domain',)
  study.random = 2
  study.fusions = ('static',)
  study.fusion_protocols = study.fusion_protocols[:1]
  study.chosen_remedies = ()
  study.supernet_clips = 8
  study.bootstrap_samples = 20
  study.search_settings = ml_collections.ConfigDict(
    {
      'search': {'num_steps': 2, 'warmup_steps': 1},
      'supernet': {'num_nodes': 1},
      'evolution': {'population': 2, 'evaluations': 3, 'num_clips': 8},
    }
  )
  sizes = {
    'stem_features': (2, 4),
    'cell_features': 4,
    'head_features': 4,
    'output_size': 4,
  }
  study.settings = ml_collections.ConfigDict(
    {
      'data': {
        **{'image_size': 16, 'num_frames': 2, 'num_snippets': 1},
        'builder_config': 'tiny',
      },
      'network': dict(sizes),
      'supernet': dict(sizes),
      'train': {'num_steps': 1, 'warmup_steps': 0, 'batch_size': 4},
      'evaluate': {
        'batch_size': 8,
        'num_samples': 0,
        'bootstrap_samples': 2,
      },
    }
  )


GROUPS = {
  'question': {
    **{'ceiling': _ceiling, 'search': _contest},
    **{'fit': _fit, 'generalise': _generalise},
  },
  'length': {'short': _short},
  'training': {'long': _long},
  'cost': {'small': _small},
  'space': {'wide': _wide},
  'size': {'debug': _debug},
}
# No supernet has the wide space, and the smallest search is shorter still.
CONFLICTS = (('short', 'wide'), ('short', 'debug'), ('long', 'small'))
