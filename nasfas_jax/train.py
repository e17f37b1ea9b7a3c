"""The experiment 'train': a network on one protocol, then its evaluation.

With config.train.num_seeds above 1 it trains that many networks side by side,
from as many seeds, in one compiled step. Each is the network that a run of its
own would train, but for rounding.
"""

import functools
import pathlib
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding

from nasfas_jax import (
  adversarial,
  augment,
  checkpoints,
  config_checks,
  domain_sets,
  evaluate,
  files,
  hosts,
  loop,
  losses,
  many_seeds,
  meta_training,
  models,
  profiles,
  progress,
  remote,
  run_log,
  scoring,
  settings,
  sharding,
  starting,
  states,
  supervised,
)
from nasfas_jax.data import protocols
from nasfas_jax.models import genotypes
from nasfas_jax.report import page
from nasfas_jax.states import PyTree, TrainState

MODELS = ('genotype', *models.NETWORKS)
# Separate draws of the same seed: those of a step, and the first parameters of
# the terms.
_DRAWS, _TERMS = 200, 201


def train(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  profile: profiles.Steps | None = None,
) -> dict[int, dict]:
  """Trains config.model on config.protocol, evaluates it and writes the report.

  The same call with the same workdir resumes a run that was killed.

  Args:
    config: of the run.
    workdir: folder of its files.
    profile: steps to trace, see `loop.run`.

  Returns:
    See `fit_and_judge`.

  Raises:
    ValueError: for an invalid config; names the field.
    FileNotFoundError: if the dataset or the genotype is missing.
    FloatingPointError: if the training diverges.
  """
  config = settings.settle_dtype(config, workdir)
  check(config)
  chosen = config.model
  if chosen == 'genotype':
    chosen = _find_genotype(config, workdir)
    given, config = config, settings.follow(config, chosen)
    if given.input.fusion != config.input.fusion:
      progress.say(
        f'The genotype chose the fusion {config.input.fusion!r}: '
        f'config.input.fusion is that, not {given.input.fusion!r}.'
      )
  config_checks.check_model(
    'network', lambda: settings.network(config, chosen), config
  )
  check_norm(config, chosen)
  before = None
  if config.train.start_from:
    # A run that has begun does not need the other one any more.
    before = run_log.kept_before(workdir)
    if before is None:
      starting.check(config, chosen)
  selection = settings.selection(config)
  check_clips(config, selection)
  if config.train.start_from and before is None:
    before = starting.before(config, selection)
  run_log.start(workdir, config, selection, before)
  for line in settings.run_lines(config, selection):
    progress.say(line)
  if config.model == 'genotype':
    hosts.first(lambda: chosen.save(workdir / 'genotype.json'))
  return fit_and_judge(config, workdir, selection, chosen, profile)


def check(config: ml_collections.ConfigDict) -> None:
  """Checks the config of a training before anything is written.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  if config.model not in MODELS:
    raise ValueError(
      f'config.model is {config.model!r}; allowed: {", ".join(MODELS)}.'
    )
  if config.model == 'genotype' and not config.genotype:
    raise ValueError(
      'config.model is "genotype": give --config.genotype=PATH of a '
      'genotype.json, or --config.model=cdcn or cdcnpp.'
    )
  if config.model != 'genotype' and config.genotype:
    raise ValueError(
      f'config.genotype is given, but config.model is {config.model!r}, '
      'which has none.'
    )
  config_checks.check(config)
  config_checks.check_training(config)
  config_checks.check_batch_sizes(
    config, 'train.batch_size', 'evaluate.batch_size'
  )


def check_clips(
  config: ml_collections.ConfigDict, selection: protocols.Selection
) -> None:
  """Checks that a training can take these clips, before it leaves anything.

  Raises:
    ValueError: names the field.
  """
  domain_field = protocols.get_protocol(config.protocol).domain_field
  settings.generalising(config, selection.train, domain_field)
  settings.check_balance(config, selection.train)
  if config.evaluate.batch_norm == scoring.RUNNING:
    return
  for rows in filter(None, (selection.dev, selection.test)):
    domains = [str(row[domain_field]) if domain_field else '' for row in rows]
    try:
      scoring.groups(domains, config.evaluate.batch_norm)
    except ValueError as error:
      raise ValueError(f'config.evaluate.{error}') from error


def check_norm(
  config: ml_collections.ConfigDict, chosen: str | genotypes.Genotype
) -> None:
  """Refuses fields of batch statistics for a network that has none.

  Raises:
    ValueError: names the field.
  """
  choices = getattr(chosen, 'choices', None)
  if choices is not None and choices.norm != 'batch':
    check_no_batch_statistics(
      config,
      f'for a genotype of the norm {choices.norm!r}, which has no batch '
      'statistics',
    )


def check_no_batch_statistics(
  config: ml_collections.ConfigDict, where: str
) -> None:
  """Refuses fields of batch statistics.

  Args:
    config: of a training.
    where: they are not allowed, for the message.

  Raises:
    ValueError: names the field.
  """
  for name, value, allowed in (
    ('evaluate.batch_norm', config.evaluate.batch_norm, scoring.RUNNING),
    ('train.domain_statistics', config.train.domain_statistics, False),
  ):
    if value != allowed:
      raise ValueError(
        f'config.{name} is {value!r}; allowed {where}: {allowed!r}.'
      )


def _find_genotype(config, workdir: pathlib.Path) -> genotypes.Genotype:
  """The genotype in config.genotype, or a resumed run's own copy of it.

  Raises:
    ValueError: if the file has changed since the run began.
  """
  copy = workdir / 'genotype.json'
  if not copy.exists():
    return genotypes.load(remote.local_file(config.genotype))
  kept = genotypes.load(copy)
  source = remote.local_file(config.genotype)
  if source.exists() and genotypes.load(source) != kept:
    raise ValueError(
      f'config.genotype {config.genotype!r} has changed since the run in '
      f'{str(workdir)!r} began. Choose another --workdir.'
    )
  return kept


def fit_and_judge(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  selection: protocols.Selection,
  chosen: str | genotypes.Genotype,
  profile: profiles.Steps | None = None,
) -> dict[int, dict]:
  """Trains on the selection's train set, evaluates, and writes the report.

  With config.train.num_seeds above 1, workdir/seedN gets the files of a run of
  its own for each seed N, and the workdir those of all together; see
  `many_seeds`.

  Args:
    config: of the run.
    workdir: folder of its files, which `run_log.start` has claimed.
    selection: the clips of config.protocol.
    chosen: the network: its name, or a genotype.
    profile: steps to trace, see `loop.run`.

  Returns:
    Seed -> the content of its results.json, for the seeds config.seed,
    config.seed + 1, ...
  """
  mesh = sharding.make_mesh()
  model = settings.network(config, chosen)
  start, told = None, {}
  if config.train.start_from:
    # A workdir in a bucket is whole on host 0 only.
    told['seen'] = hosts.first(
      lambda: evaluate.seen_in_training(
        workdir, config.protocol, config, selection
      )
    )
    if not checkpoints.has_any(checkpoints.folder(workdir, 'train')):
      start = starting.variables(config, chosen, sharding.replicated(mesh))
  state = fit(config, workdir, model, selection, profile, start)
  variables = {'params': state.params, 'batch_stats': state.batch_stats}
  # The networks of several seeds may be spread over the devices.
  variables = jax.device_put(variables, sharding.replicated(mesh))
  model = settings.network(config, chosen, scoring=True)
  step = config.train.num_steps
  trained = evaluate.Trained(variables, step, config.protocol)
  seeds = settings.seeds(config)
  if len(seeds) == 1:
    more = {**run_log.skipped_steps(workdir), **told}
    results = evaluate.judge(
      config, workdir, model, trained, selection, mesh, more=more
    )
    found = {config.seed: results}
  else:
    runs = _start_members(config, workdir, selection, chosen, state, mesh)
    del state
    more = [{**run_log.skipped_steps(path), **told} for _, path in runs]
    results = evaluate.judge_members(
      runs, model, trained, selection, mesh, more
    )
    found = dict(zip(seeds, results, strict=True))
    for _, path in runs:
      hosts.first(lambda path=path: str(page.write_report(path)))
    over = many_seeds.conclude(
      workdir, found, bootstrap_samples=config.evaluate.bootstrap_samples
    )
    progress.say(many_seeds.say(over))
  report = hosts.first(lambda: str(page.write_report(workdir)))
  progress.say(f'Report: {report}')
  return found


def _start_members(config, workdir, selection, chosen, state, mesh) -> list:
  """Writes the training of each seed into its folder: [(config, folder)]."""
  take = jax.jit(states.member)
  before = run_log.kept_before(workdir)
  runs = []
  for place, seed in enumerate(settings.seeds(config)):
    one = config.copy_and_resolve_references()
    # A search is of all seeds together, and the training of a seed is not.
    one.experiment = 'train'
    one.seed = seed
    one.train.num_seeds = 1
    path = many_seeds.folder(workdir, seed)
    if isinstance(chosen, genotypes.Genotype):
      # Not where it lies: the folder may be moved, and hosts have other ones.
      one.genotype = config.genotype or 'genotype.json'
      hosts.first(
        lambda path=path: files.write_whole(
          path / 'genotype.json', (workdir / 'genotype.json').read_text()
        )
      )
    alone = jax.device_put(take(state, place), sharding.replicated(mesh))
    many_seeds.start_member(
      *(path, one, selection, alone),
      many_seeds.entries_of(workdir, place),
      before,
    )
    runs.append((one, path))
  return runs


def fit(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  model: nn.Module,
  selection: protocols.Selection,
  profile: profiles.Steps | None = None,
  start: PyTree | None = None,
) -> TrainState:
  """Trains for config.train.num_steps; resumes from the newest checkpoint.

  Args:
    config: of the run.
    workdir: folder of its files.
    model: the network.
    selection: the clips of config.protocol.
    profile: steps to trace, see `loop.run`.
    start: see `initial_state`; of several seeds, all start there.

  Returns:
    The last state; with several seeds S every leaf has a leading axis [S].
  """
  domain_field = protocols.get_protocol(config.protocol).domain_field
  batch_size, map_size = config.train.batch_size, config.network.output_size
  rate = settings.training(config).rate()
  seeds = settings.seeds(config)
  many = len(seeds) > 1
  if many:
    read = functools.partial(
      settings.member_batches(config, domain_field, map_size),
      seeds=stream_seeds(config),
    )
  else:
    read = functools.partial(
      settings.training_batches(config, domain_field, map_size),
      seed=stream_seeds(config)[0],
    )
  make, step, draws, of_batch = make_step(
    config,
    model,
    settings.generalising(config, selection.train, domain_field),
  )
  with progress.stage('Making the network' + ('s' if many else '')):
    state = make(start)

  def compile_step(state, batch):
    compiled = step.lower(state, batch, draws).compile()
    return lambda state, batch: compiled(state, batch, draws)

  def batches(start):
    stream = read(selection.train, batch_size=batch_size, step=start)
    try:
      for batch in stream:
        yield sharding.put_part(batch, of_batch)
    finally:
      stream.close()

  def observe(state, scalars, done):
    del state
    numbers = loop.read(scalars)
    return loop.Observed({**numbers, 'learning_rate': float(rate(done - 1))})

  def clips(batch):
    if not many:
      return [(selection.train, batch)]
    if jax.process_count() > 1:
      # A host has but a part of a seed's clips; it names those of all seeds.
      return [(selection.train, batch)] * len(seeds)
    return [
      (selection.train, states.member(batch, place))
      for place in range(len(seeds))
    ]

  return loop.run(
    loop.Program(
      name='train',
      title='Training',
      num_steps=config.train.num_steps,
      state=state,
      compile=compile_step,
      batches=batches,
      observe=observe,
      clips=clips,
      members=tuple(f'seed {seed}' for seed in seeds) if many else (),
    ),
    workdir,
    log_every=config.log_every,
    checkpoint_every=config.checkpoint_every,
    max_skipped=config.max_skipped_steps,
    profile=profile,
  )


def make_step(
  config: ml_collections.ConfigDict,
  model: nn.Module,
  generalising: supervised.Generalising = supervised.PLAIN,
) -> tuple[Callable, Callable, jax.Array, NamedSharding]:
  """What a training computes, from config.train.num_seeds seeds.

  No seed is part of a program, so the cache of compiled programs has that of
  every seed.

  Args:
    config: of the run.
    model: the network.
    generalising: see `supervised.Generalising`.

  Returns:
    (a function that makes the initial state, from drawn weights or from those
    that it is given, see `initial_state`; the jitted step, (state, raw batch,
    seed) -> (state, scalars), which donates its state; that seed; the sharding
    of raw batches). With several seeds S all arrays but given weights have a
    leading axis [S].
  """
  optimizer = settings.training(config).optimizer()
  example = settings.example_input(config)
  seeds = settings.seeds(config)

  def make(seeds, start=None):
    def one(seed):
      return initial_state(model, example, seed, optimizer, generalising, start)

    return jax.vmap(one)(seeds) if seeds.ndim else one(seeds)

  of_state, of_batch = _placement(len(seeds), config.train.batch_size)
  mesh = of_batch.mesh
  parts = dict(
    prepare=settings.prepare(config, config.network.output_size),
    loss_fn=supervised.network_loss(
      model,
      settings.input_form(config),
      settings.objective(config),
      generalising,
      mesh,
    ),
    optimizer=optimizer,
    generalising=generalising,
    mesh=mesh,
  )

  def step(state, raw, seed):
    return raw_step(state, raw, seed=seed, **parts)

  first, draws = _as_array(seeds), _as_array(stream_seeds(config))
  if len(seeds) == 1:
    first, draws = first.reshape(()), draws.reshape(())
  else:
    step = sharding.on_own_tasks(sharding.vmap_or_loop(step, mesh), mesh)
  jitted = jax.jit(
    step,
    in_shardings=(of_state, of_batch, of_state),
    out_shardings=of_state,
    donate_argnums=0,
  )
  make = functools.partial(jax.jit(make, out_shardings=of_state), first)
  placed = jax.make_array_from_callback(
    draws.shape, of_state, lambda index: draws[index]
  )
  return make, jitted, placed, of_batch


def stream_seeds(config: ml_collections.ConfigDict) -> list[int]:
  """The seeds of the clips and their augmentation; not those of the weights."""
  return [seed + 3 for seed in settings.seeds(config)]


def _placement(num_seeds: int, batch_size: int):
  """The shardings of a training's states and batches.

  One network is on all devices, which divide its clips. Of several networks,
  the devices of one process divide the networks first, then the clips. The
  devices of several processes divide the clips only.
  """
  if num_seeds == 1:
    mesh = sharding.make_mesh()
    return sharding.replicated(mesh), sharding.batch_sharding(mesh)
  if jax.process_count() > 1:
    mesh = sharding.make_mesh()
  else:
    mesh = sharding.make_mesh(num_seeds, [batch_size])
  return sharding.task_sharding(mesh), sharding.clip_sharding(mesh)


def _as_array(seeds: Sequence[int]) -> np.ndarray:
  """Seeds of which `jax.random.key` makes the keys of the numbers themselves.

  It takes the low 32 bits of a number.
  """
  return np.array([seed % 2**32 for seed in seeds], np.uint32)


def initial_state(
  model: nn.Module,
  example: jax.Array,
  seed: int | jax.Array,
  optimizer: optax.GradientTransformation,
  generalising: supervised.Generalising = supervised.PLAIN,
  start: PyTree | None = None,
) -> TrainState:
  """The initial state; the same for the same seed.

  Args:
    model: the network.
    example: an input of the network; only its shape is used.
    seed: of the weights.
    optimizer: of the weights, and of the terms' parameters.
    generalising: says which terms have parameters.
    start: 'params' and 'batch_stats' to start from; None: drawn from the seed.
  """
  key = jax.random.key(seed)
  variables = start
  if variables is None:
    variables = models.initialize(model, jax.random.fold_in(key, 1), example)
  term_params, term_opt_state = (), ()
  if adversary := generalising.adversary:
    outputs = jax.eval_shape(
      lambda: model.apply(variables, example, train=False)
    )
    term_params = adversarial.init(
      jax.random.fold_in(key, _TERMS),
      jax.eval_shape(losses.embed, outputs).shape[-1],
      adversary.num_domains,
    )
    term_opt_state = optimizer.init(term_params)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=variables['params'],
    batch_stats=variables['batch_stats'],
    opt_state=optimizer.init(variables['params']),
    skipped=jnp.zeros((), jnp.int32),
    term_params=term_params,
    term_opt_state=term_opt_state,
  )


def raw_step(
  state: TrainState,
  raw: dict[str, jax.Array],
  *,
  seed: int | jax.Array,
  prepare: augment.Prepare,
  loss_fn: supervised.NetworkLoss,
  optimizer: optax.GradientTransformation,
  generalising: supervised.Generalising = supervised.PLAIN,
  mesh: Mesh | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
  """`train_step` on a raw batch, which it augments first.

  Args:
    state: before the step.
    raw: see `data.pipeline.train_batches`.
    seed: of the augmentation, and of other draws.
    prepare: see `augment.Prepare`.
    loss_fn: see `train_step`.
    optimizer: see `train_step`.
    generalising: see `train_step`.
    mesh: see `train_step`.
  """
  batch = prepare(raw, state.step, seed)
  return train_step(
    state,
    batch,
    loss_fn=loss_fn,
    optimizer=optimizer,
    generalising=generalising,
    seed=seed,
    mesh=mesh,
  )


def train_step(
  state: TrainState,
  batch: dict[str, jax.Array],
  *,
  loss_fn: supervised.NetworkLoss,
  optimizer: optax.GradientTransformation,
  generalising: supervised.Generalising = supervised.PLAIN,
  seed: int | jax.Array = 0,
  mesh: Mesh | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
  """One training step.

  Args:
    state: before the step.
    batch: see `augment.prepare_batch`.
    loss_fn: see `supervised.network_loss`.
    optimizer: of the weights, and of the terms' parameters.
    generalising: that of the loss.
    seed: of what it draws.
    mesh: of the devices, if the clips are divided by domain; None: there is
      one.

  Returns:
    (new state, scalars): 'train_loss' and each term of the loss, such as
    'train_depth'.
  """
  place = None
  if generalising.draws:
    key = jax.random.fold_in(jax.random.key(seed), _DRAWS)
    place = supervised.Place(
      jax.random.fold_in(key, state.step), state.step, state.term_params
    )
  if generalising.clips_per_domain:
    batch = domain_sets.sort(batch, mesh)
  term_gradients = ()
  if generalising.meta != 'off':
    found, gradients = meta_training.gradients(
      *(loss_fn, state.params, state.batch_stats, batch, place),
      generalising,
      mesh,
    )
  elif state.term_params:
    found, (gradients, term_gradients) = jax.value_and_grad(
      lambda params, term_params: loss_fn(
        params,
        state.batch_stats,
        batch,
        place=place._replace(term_params=term_params),
      ),
      argnums=(0, 1),
      has_aux=True,
    )(state.params, state.term_params)
  else:
    found, gradients = jax.value_and_grad(loss_fn, has_aux=True)(
      state.params, state.batch_stats, batch, place=place
    )
  loss, (batch_stats, terms) = found

  updates, opt_state = optimizer.update(
    gradients, state.opt_state, state.params
  )
  term_params, term_opt_state = state.term_params, state.term_opt_state
  if term_params:
    moves, term_opt_state = optimizer.update(
      term_gradients, term_opt_state, term_params
    )
    term_params = optax.apply_updates(term_params, moves)
  state = state.replace(
    step=state.step + 1,
    params=optax.apply_updates(state.params, updates),
    batch_stats=batch_stats,
    opt_state=opt_state,
    term_params=term_params,
    term_opt_state=term_opt_state,
  )
  terms = {f'train_{name}': value for name, value in terms.items()}
  return state, {'train_loss': loss, **terms}
