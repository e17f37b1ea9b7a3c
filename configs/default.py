"""Every field of a run, with the values of the default CPU-sized setting.

The other configs change a few of these. Any field can be set on the command
line, such as --config.train.num_steps=1000.
"""

import ml_collections
from ml_collections import config_dict


def get_config() -> ml_collections.ConfigDict:
  """Returns the config that the others start from."""
  config = ml_collections.ConfigDict()
  config.experiment = 'search'
  config.seed = 0
  # Which clips train, set the threshold and test; a wrong name lists them all.
  config.protocol = 'synthetic_fas/cross_domain/night'
  # Whose equal error rate sets the threshold: 'dev', 'train', or '' for the
  # protocol's own rule.
  config.threshold_source = ''
  # Steps between checkpoints; 0 saves at the end only.
  config.checkpoint_every = 100
  # Steps between lines of metrics.jsonl.
  config.log_every = 10

  # What to train: 'genotype' (a searched network), 'cdcn' or 'cdcnpp'.
  config.model = 'genotype'
  # The genotype.json to train when config.model is 'genotype'.
  config.genotype = ''
  # The workdir of a training run to evaluate.
  config.checkpoint = ''

  # Weights of the loss's terms; 0 leaves a term out.
  config.loss = ml_collections.ConfigDict(
    {
      # Mean squared error towards the depth map of live clips, and towards
      # zeros for spoofs.
      'depth': 1.0,
      # The same of each pixel's differences from its eight neighbours.
      'contrastive_depth': 1.0,
      # Mean squared error towards the face mask of live clips, and towards
      # zeros for spoofs.
      'binary_mask': 0.0,
      # The same of each pixel's differences from its eight neighbours.
      'contrastive_mask': 0.0,
    }
  )

  config.data = ml_collections.ConfigDict(
    {
      # Folder of prepared datasets; '' is $TFDS_DATA_DIR or
      # ~/tensorflow_datasets.
      'data_dir': '',
      # Config of the dataset builder; '' is its default.
      'builder_config': '',
      'image_size': 64,
      'num_frames': 8,
      # Side of the crop over the side of the face box, when evaluating. At
      # 1.28 a clip of synthetic_fas needs no resampling, which at 64x64 would
      # blur the texture that gives a spoof away.
      'eval_face_scale': 1.28,
      # What each batch of training holds in equal shares: '' (clips as they
      # come), 'class' (live and spoof), 'domain', or 'domain_class' (both).
      'balance': '',
      # Snippets a clip when evaluating; their scores are averaged.
      'num_snippets': 1,
      # Worker processes that decode (Linux); 0 decodes in threads.
      'num_workers': 0,
      # Memory for training clips as they were decoded, MiB. Worker processes
      # share it out, and each meets all clips: n of them need n times the
      # clips' size.
      'cache_mib': 1024,
    }
  )
  config.augmentation = ml_collections.ConfigDict(
    {
      # The published colours and gamma; erasing and cutout take more steps
      # than a run of minutes has.
      'face_scale': (1.28, 1.28),
      'flip': 0.5,
      'colour': 40.0,
      'gamma': (0.5, 1.5),
      'erase': 0.0,
      'erase_area': (0.01, 0.05),
      'cutout': 0.0,
      'cutout_side': 0.2,
      'noise': 0.0,
      'blur': 0.0,
    }
  )
  config.input = ml_collections.ConfigDict(
    {
      # 'static', 'dynamic', 'blend', 'concat' or 'two_stream'.
      'fusion': 'concat',
      # 'approximate', 'linear' or 'exact'.
      'rank_pooling': 'approximate',
      # 'fixed', as in CDCN, or 'clip': without each clip's colour and contrast.
      'normalization': 'clip',
    }
  )

  # The network that is trained and judged.
  config.network = ml_collections.ConfigDict(
    {
      'stem_features': (8, 16),
      'cell_features': 16,
      'head_features': 16,
      'output_size': 16,
      # None keeps the genotype's theta (0.7 for cdcn and cdcnpp).
      'theta': config_dict.placeholder(float),
      'remat': False,
      # Compute dtype; parameters and statistics stay float32.
      'dtype': 'float32',
    }
  )

  # The network that is searched.
  config.supernet = ml_collections.ConfigDict(
    {
      # 'cdcnpp', 'nasfas' or 'vanilla'.
      'space': 'cdcnpp',
      'num_cells': 1,
      'num_nodes': 4,
      'stem_features': (8, 16),
      'cell_features': 16,
      'head_features': 16,
      'output_size': 16,
      'theta': 0.7,
      # Only 1 / partial_channels of the channels pass the mixed operations.
      'partial_channels': 4,
      'edge_normalization': True,
      'node_attention': True,
      'remat': False,
      'dtype': 'float32',
    }
  )

  config.search = ml_collections.ConfigDict(
    {
      # 'gradient'; or its controls: 'evolution' with weight sharing, 'random'.
      'algorithm': 'gradient',
      # What each task holds out: 'domain', 'type' (an attack type) or
      # 'domain_type' (one of each). 'none': a plain search, without tasks.
      'hold_out': 'domain',
      'num_steps': 100,
      # Clips of a step on each half, of a plain search.
      'batch_size': 8,
      # Steps at the start that update the weights only.
      'warmup_steps': 30,
      # False: first order. True: through the inner steps of the weights.
      'second_order': False,
      # Gumbel-softmax samples of the operations instead of the plain softmax.
      'gumbel': False,
      'temperature': 1.0,
      'weight_learning_rate': 5e-3,
      'weight_schedule': 'cosine',
      'weight_decay': 5e-5,
      'arch_learning_rate': 3e-2,
      # The published 1e-3 holds alpha at its start in a search this short.
      'arch_weight_decay': 0.0,
      'gradient_clip': 5.0,
      # Steps between snapshots of the operations' weights in metrics.jsonl.
      'arch_every': 10,
    }
  )

  # The search over tasks: what config.search.hold_out needs.
  config.meta = ml_collections.ConfigDict(
    {
      'num_tasks': 2,
      # Clips a task.
      'support_size': 4,
      'query_size': 4,
      # Steps of gradient descent on the support set, and their learning rate.
      'inner_steps': 1,
      'inner_lr': 1e-2,
      # Steps of the search in which the query losses after the earlier inner
      # steps fade out (multi-step loss annealing); 0: only the last one counts.
      'anneal_steps': 0,
      # Deal the clips of a set evenly to its domains, and normalise each
      # domain's by their own batch statistics.
      'domain_statistics': False,
      # Learn an inner learning rate for every tensor, from inner_lr on.
      'learn_inner_lr': False,
      'inner_lr_learning_rate': 1e-2,
      # Split the weights' optimizer state over the devices.
      'shard_optimizer': False,
    }
  )

  # The evolution: what config.search.algorithm 'evolution' needs.
  config.evolution = ml_collections.ConfigDict(
    {
      'population': 8,
      # Genotypes that are scored in all, the first population among them.
      'evaluations': 32,
      'mutation_rate': 0.1,
      # Clips that score a genotype, shared out over the tasks; each task has
      # 32 more, of training, for the statistics of batch normalization.
      'num_clips': 64,
    }
  )

  config.train = ml_collections.ConfigDict(
    {
      'num_steps': 800,
      'batch_size': 16,
      'learning_rate': 1e-2,
      # Steps over which the rate rises from 0.
      'warmup_steps': 100,
      # 'constant', 'cosine' or 'step'.
      'schedule': 'cosine',
      # For 'step': the rate is halved after every so many steps.
      'step_size': 0,
      'weight_decay': 5e-5,
      'gradient_clip': 5.0,
    }
  )

  config.evaluate = ml_collections.ConfigDict(
    {
      'batch_size': 32,
      'bootstrap_samples': 1000,
      # Clips shown with their maps in the report.
      'num_samples': 24,
    }
  )
  return config
