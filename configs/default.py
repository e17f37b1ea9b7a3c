"""Every field of a run, with its default: a setting sized for a CPU.

The other configs change a few of these. Any field can be set on the command
line, such as --config.train.num_steps=1000.
"""

import ml_collections
from ml_collections import config_dict


def get_config() -> ml_collections.ConfigDict:
  """Returns the config that all others start from."""
  config = ml_collections.ConfigDict()
  config.experiment = 'search'
  config.seed = 0
  # Selects the train, dev and test sets. --config=protocols lists all.
  config.protocol = 'synthetic_fas/unseen_rooms'
  # The set that sets the threshold: 'dev' or 'train'; '': that of the protocol.
  config.threshold_source = ''
  # The rule that sets it: 'eer', 'apcer=0.05' (no attack type above it),
  # 'bpcer=0.01', or a number, which is the threshold.
  config.threshold = 'eer'
  # Steps between checkpoints; 0 saves only the last step.
  config.checkpoint_every = 100
  # Steps between lines of metrics.jsonl.
  config.log_every = 10
  # Steps with a loss or gradient that is not finite are skipped, up to so many
  # in a search or a training; 0: the first is an error.
  config.max_skipped_steps = 0

  # The network to train: 'genotype' (a searched one), 'cdcn' or 'cdcnpp'.
  config.model = 'genotype'
  # The genotype.json to train when config.model is 'genotype'.
  config.genotype = ''
  # The workdir of the training run to evaluate.
  config.checkpoint = ''
  # Evaluate it with the batch statistics that --config=calibrate has adapted.
  config.adapted = False
  # Or a CSV file of scores to evaluate, of any system.
  config.scores = ''

  # What training and search compute in: 'float32', 'bfloat16' or 'auto', which
  # is bfloat16 on GPU and TPU and float32 on CPU. Parameters, statistics,
  # losses and scores are float32.
  config.dtype = 'auto'

  # Weights of the loss terms; a term of weight 0 is not computed.
  config.loss = ml_collections.ConfigDict(
    {
      # Mean squared error of the map. The target of live clips is their depth
      # map, that of spoofs is 0.
      'depth': 1.0,
      # The same error of each pixel's differences from its eight neighbours.
      'contrastive_depth': 1.0,
      # As 'depth', but the target of live clips is their face mask.
      'binary_mask': 0.0,
      # As 'contrastive_depth', for the face mask.
      'contrastive_mask': 0.0,
      # Live clips of all domains come together, the attacks of each domain
      # apart from them: the asymmetric triplet loss of SSDG.
      'triplet': 0.0,
      # A discriminator is not to tell the domain of a live clip: the
      # single-side adversarial term of SSDG. In the training of a network only.
      'adversarial': 0.0,
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
      # Frames of a snippet. A clip of synthetic_fas has eight: training draws
      # another four of them each time.
      'num_frames': 4,
      # Side of the crop over the larger side of the face box, in evaluation. At
      # 1.28, clips of synthetic_fas are not resampled; at 64x64, resampling
      # would blur the texture that gives a spoof away.
      'eval_face_scale': 1.28,
      # What a training batch holds in equal numbers: 'class' (live and spoof),
      # 'domain' or 'domain_class' (pairs of both). '': not balanced.
      'balance': '',
      # Snippets per clip in evaluation; their scores are averaged.
      'num_snippets': 5,
      # Worker processes that decode (Linux); 0 decodes in threads.
      'num_workers': 0,
      # Cache of decoded training clips, in MiB, divided among the worker
      # processes. Each of them sees all clips, so n of them need n times the
      # size of the clips.
      'cache_mib': 1024,
    }
  )
  config.augmentation = ml_collections.ConfigDict(
    {
      # Colour and gamma are as published. Erasing and cutout need longer runs
      # than one of minutes.
      'face_scale': (1.28, 1.28),
      # Largest shift of the crop along each axis, over its side.
      'shift': 0.1,
      'flip': 0.5,
      'colour': 40.0,
      'gamma': (0.5, 1.5),
      'erase': 0.0,
      'erase_area': (0.01, 0.05),
      'cutout': 0.0,
      'cutout_side': 0.2,
      'noise': 0.0,
      'blur': 0.0,
      # By how much the quality of JPEG may fall from 100.
      'compression': 0.0,
    }
  )
  # MixStyle, in the training of a network: a clip's feature statistics are
  # mixed with those of a clip of another domain.
  config.mix_style = ml_collections.ConfigDict(
    {
      # Of mixing a batch after a stage; 0: never.
      'probability': 0.0,
      # Of the Beta distribution of a clip's share; the smaller, the nearer to
      # one of the two clips.
      'alpha': 0.1,
      # Some of 'stem', 'low', 'mid', 'high'.
      'stages': ('stem', 'low'),
    }
  )
  config.input = ml_collections.ConfigDict(
    {
      # 'static', 'dynamic', 'blend', 'concat' or 'two_stream'.
      'fusion': 'concat',
      # 'approximate', 'linear' or 'exact'.
      'rank_pooling': 'approximate',
      # 'fixed', as in CDCN, or 'clip', which also removes each clip's own
      # colour and contrast.
      'normalization': 'clip',
    }
  )

  # The network that is trained and evaluated.
  config.network = ml_collections.ConfigDict(
    {
      'stem_features': (8, 16),
      'cell_features': 16,
      'head_features': 16,
      'output_size': 16,
      # None: that of the genotype, 0.7 for cdcn and cdcnpp.
      'theta': config_dict.placeholder(float),
      'remat': False,
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
      # 1 / partial_channels of the channels pass through the mixed operations.
      'partial_channels': 4,
      'edge_normalization': True,
      'node_attention': True,
      # Recompute activations in the backward pass: less memory, more time.
      'remat': False,
      # With remat: the results of convolutions, too.
      'remat_convolutions': False,
      # Compute the edges that leave a node in a loop: on an accelerator the
      # step compiles in a fraction of the time. Slower on CPU.
      'edge_loop': False,
    }
  )

  config.search = ml_collections.ConfigDict(
    {
      # 'gradient', or a control: 'evolution' (with weight sharing), 'random'.
      'algorithm': 'gradient',
      # What each task holds out: 'domain', 'type' (an attack type) or
      # 'domain_type' (one of each). 'none' is a plain search, without tasks.
      'hold_out': 'domain',
      'num_steps': 100,
      # Clips per step: of each half in a plain search, of each task in an
      # evolution.
      'batch_size': 8,
      # First steps, which update the weights only.
      'warmup_steps': 30,
      # Differentiate through the inner steps of the weights.
      'second_order': False,
      # Mix the operations by a Gumbel-softmax sample, not by the softmax.
      'gumbel': False,
      'temperature': 1.0,
      'weight_learning_rate': 5e-3,
      'weight_schedule': 'cosine',
      'weight_decay': 5e-5,
      'arch_learning_rate': 3e-2,
      # In a search this short, the published 1e-3 would keep alpha near 0.
      'arch_weight_decay': 0.0,
      'gradient_clip': 5.0,
      # Weight of the derived network's expected cost in the loss of the
      # architecture, and what it is counted in: 'parameters' or 'macs'
      # (multiply-accumulates). The costliest genotype of the space has 1.
      'cost_weight': 0.0,
      'cost': 'parameters',
      # How the genotype is derived: by 'strength', the operations' weights, or
      # by 'perturbation', what the loss becomes without an operation.
      'selection': 'strength',
      # For 'perturbation': batches whose loss is compared, and steps of the
      # weights after each edge that is decided (0: the weights stay).
      'selection_batches': 4,
      'selection_steps': 0,
      # Steps between snapshots of the operations' weights in metrics.jsonl, a
      # multiple of log_every: only those lines have them.
      'arch_every': 10,
    }
  )

  # The search over tasks; used unless config.search.hold_out is 'none'.
  config.meta = ml_collections.ConfigDict(
    {
      'num_tasks': 2,
      # Clips per task.
      'support_size': 4,
      'query_size': 4,
      # Steps of gradient descent on the support set, and their learning rate.
      'inner_steps': 1,
      'inner_lr': 1e-2,
      # Search steps over which the query losses after the earlier inner steps
      # fade out (multi-step loss of MAML++); 0: only the last one counts.
      'anneal_steps': 0,
      # Draw the same number of clips from each domain of a set, and normalise
      # each domain's clips by their own batch statistics.
      'domain_statistics': False,
      # Learn an inner learning rate for every tensor, starting at inner_lr.
      'learn_inner_lr': False,
      'inner_lr_learning_rate': 1e-2,
      # Split the weights' optimizer state over the devices.
      'shard_optimizer': False,
    }
  )

  # The evolution; used if config.search.algorithm is 'evolution'.
  config.evolution = ml_collections.ConfigDict(
    {
      'population': 8,
      # Total number of scored genotypes, with the initial population.
      'evaluations': 32,
      'mutation_rate': 0.1,
      # Clips that score a genotype, divided among the tasks. Each task also
      # uses 32 training clips for the batch statistics.
      'num_clips': 64,
    }
  )

  config.train = ml_collections.ConfigDict(
    {
      # Networks that are trained side by side in one program, from the seeds
      # config.seed, config.seed + 1, ...
      'num_seeds': 1,
      # Workdir of a finished run of the same network, whose weights and batch
      # statistics a training starts from. '': weights drawn from the seed.
      'start_from': '',
      'num_steps': 1200,
      'batch_size': 16,
      'learning_rate': 1e-2,
      # Length of the linear warm-up of the learning rate.
      'warmup_steps': 100,
      # 'constant', 'cosine' or 'step'.
      'schedule': 'cosine',
      # For 'step': steps after which the learning rate is halved.
      'step_size': 0,
      'weight_decay': 5e-5,
      'gradient_clip': 5.0,
      # Normalise each domain's clips by their own batch statistics; needs
      # data.balance 'domain' or 'domain_class', as does 'meta'.
      'domain_statistics': False,
      # Meta-training over held-out domains (MLDG): 'off', or by gradients of
      # 'first' or 'second' order. A step on the other domains is to lower the
      # loss of one domain, drawn anew in every step.
      'meta': 'off',
      # Learning rate of that step.
      'meta_inner_lr': 1e-2,
    }
  )

  config.evaluate = ml_collections.ConfigDict(
    {
      'batch_size': 32,
      # What clips are normalised by: 'running' (statistics of the training),
      # or 'test' (those of the batch they are scored in) or 'test_domain'
      # (batches of one domain), with which a score depends on other clips.
      'batch_norm': 'running',
      'bootstrap_samples': 1000,
      # Number of clips that the report shows with their maps.
      'num_samples': 24,
    }
  )
  return config
