"""Networks of several seeds in one program against runs of their own."""

import functools
import shutil

import device_work
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from untrained_run import small_genotype

from nasfas_configs import train as train_config
from nasfas_jax import (
  detector,
  evaluate,
  files,
  loop,
  main,
  many_seeds,
  nonfinite,
  run_log,
  score_table,
  settings,
  sharding,
  states,
  supervised,
  train,
)
from nasfas_jax.models import genotypes
from nasfas_jax.report import page, runs_page
from nasfas_jax.states import TrainState

SEEDS = (5, 6)
STEPS = 4
# Of float32: the sums of a member run in another order.
CLOSE = {'rtol': 1e-4, 'atol': 1e-6}


def small(data_dir, genotype, **changes):
  config = train_config.get_config('debug')
  config.data.data_dir = str(data_dir)
  config.data.image_size = 16
  config.data.num_frames = 2
  config.network.output_size = 4
  config.train.num_steps = STEPS
  config.checkpoint_every = 2
  config.log_every = 1
  config.evaluate.bootstrap_samples = 20
  config.genotype = str(genotype)
  config.seed = SEEDS[0]
  config.train.num_seeds = len(SEEDS)
  config.update_from_flattened_dict(changes)
  return config


@pytest.fixture(scope='module')
def genotype(tmp_path_factory):
  path = tmp_path_factory.mktemp('genotype') / 'genotype.json'
  small_genotype().save(path)
  return path


@pytest.fixture(scope='module')
def reported():
  """Folders that got a report, which takes seconds; it is of runs only."""
  write, found = page.write_report, []

  def write_some(workdir):
    found.append(workdir.name)
    return write(workdir) if workdir.name == 'run' else workdir

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(page, 'write_report', write_some)
    yield found


@pytest.fixture(scope='module')
def together(tiny_data_dir, genotype, reported, tmp_path_factory):
  """A finished training from two seeds: (its folder, what it returned)."""
  workdir = tmp_path_factory.mktemp('seeds') / 'run'
  found = train.train(small(tiny_data_dir, genotype), workdir)
  assert reported[-3:] == ['seed5', 'seed6', 'run']
  return workdir, found


@pytest.fixture(scope='module')
def alone(tiny_data_dir, genotype, reported, tmp_path_factory):
  """A run of its own of the second seed."""
  workdir = tmp_path_factory.mktemp('seed') / 'alone'
  changes = {'seed': SEEDS[1], 'train.num_seeds': 1}
  train.train(small(tiny_data_dir, genotype, **changes), workdir)
  return workdir


def state_of(workdir, step=STEPS):
  folder = workdir / 'checkpoints' / 'train' / str(step) / 'state'
  return ocp.StandardCheckpointer().restore(folder.absolute())


def assert_equal_trees(first, second):
  jax.tree.map(np.testing.assert_array_equal, first, second)


def test_a_member_is_the_run_of_its_seed(together, alone):
  workdir, found = together
  member = workdir / 'seed6'
  ours, theirs = (
    run_log.read_metrics(path / 'metrics.jsonl') for path in (member, alone)
  )
  assert len(ours) == len(theirs) == STEPS
  for step, (mine, own) in enumerate(zip(ours, theirs, strict=True)):
    assert list(mine) == list(own)
    # Of the first step, all but the order of its sums is the same.
    rtol = 1e-6 if step == 0 else CLOSE['rtol']
    for name in own:
      assert mine[name] == own[name] or name.startswith('train_'), name
      if name.startswith('train_'):
        np.testing.assert_allclose(mine[name], own[name], rtol=rtol)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4),
    state_of(member),
    state_of(alone),
  )
  for split, columns in score_table.read(alone / 'scores.csv').items():
    judged = score_table.read(member / 'scores.csv')[split]
    np.testing.assert_array_equal(judged['clip_id'], columns['clip_id'])
    np.testing.assert_allclose(judged['score'], columns['score'], atol=1e-4)
  # It has what a run of its own leaves.
  there = {path.name for path in alone.iterdir()}
  assert {path.name for path in member.iterdir()} == there
  for name in ('config.json', 'data.json'):
    kept = files.read_json(member / name)
    # A search says where its genotype lies; the path is the same here.
    assert kept == files.read_json(alone / name)
  samples = [np.load(path / 'samples.npz') for path in (member, alone)]
  for name in samples[1].files:
    if name in ('score', 'predicted'):
      np.testing.assert_allclose(*(s[name] for s in samples), atol=1e-4)
    else:
      np.testing.assert_array_equal(*(s[name] for s in samples))


def test_a_mean_without_an_interval_is_said_with_a_dash():
  of = {'values': [1.0, 1.0], 'mean': 1.0, 'deviation': 0.0}
  line = many_seeds.say(
    {
      'protocol': 'p',
      'headline': ['bpcer'],
      'seeds': {'seed0': {}, 'seed1': {}},
      'over_seeds': {
        'level': 0.95,
        'auc': {**of, 'low': None, 'high': None},
        'bpcer': {**of, 'mean': 0.0, 'low': 0.0, 'high': 0.25},
      },
    }
  )
  assert 'BPCER 0.0000 ± 0.0000 (0.0000 to 0.2500)' in line
  assert 'AUC 1.0000 ± 0.0000 (-)' in line


def test_the_results_tell_the_members_and_their_spread(together):
  workdir, found = together
  assert list(found) == list(SEEDS)
  results = files.read_json(workdir / 'results.json')
  values = []
  for seed, of in found.items():
    assert of == files.read_json(workdir / f'seed{seed}' / 'results.json')
    shown = results['seeds'][f'seed{seed}']
    assert shown['seed'] == seed and shown['threshold'] == of['threshold']
    for name in ('hter', 'auc', 'num_live'):
      assert shown['splits']['test'][name] == of['splits']['test'][name]
    values.append(of['splits']['test']['auc'])
  auc = results['over_seeds']['auc']
  assert auc['values'] == pytest.approx(values)
  assert auc['mean'] == pytest.approx(np.mean(values))
  assert auc['deviation'] == pytest.approx(np.std(values, ddof=1))
  assert auc['low'] <= auc['mean'] <= auc['high']
  text = (workdir / 'report' / 'index.html').read_text()
  assert 'Networks of the same training from several seeds' in text
  for part in ('seed5', 'seed6', f'{100 * auc["mean"]:.2f}'):
    assert part in text
  # The curves are the means.
  for entry in run_log.read_metrics(workdir / 'metrics.jsonl'):
    losses = [member['train_loss'] for member in entry['members']]
    assert entry['train_loss'] == pytest.approx(np.mean(losses))
    assert entry['learning_rate'] == entry['members'][0]['learning_rate']


def test_a_resumed_training_ends_in_the_same_bits(
  together, tiny_data_dir, genotype, tmp_path
):
  workdir, found = together
  killed = tmp_path / 'killed'
  shutil.copytree(workdir, killed)
  # As a kill between the two checkpoints leaves it.
  for name in ('seed5', 'seed6', 'report', f'checkpoints/train/{STEPS}'):
    shutil.rmtree(killed / name)
  (killed / 'results.json').unlink()
  assert train.train(small(tiny_data_dir, genotype), killed) == found
  assert_equal_trees(state_of(killed), state_of(workdir))
  for seed in SEEDS:
    pair = [state_of(path / f'seed{seed}') for path in (killed, workdir)]
    assert_equal_trees(*pair)
  for name in ('metrics.jsonl', 'results.json', 'seed6/scores.csv'):
    assert (killed / name).read_bytes() == (workdir / name).read_bytes()
  with pytest.raises(ValueError, match='train.num_seeds: 2 there, 3 now'):
    train.train(
      small(tiny_data_dir, genotype, **{'train.num_seeds': 3}), killed
    )


def test_one_seed_is_trained_as_ever(alone, tiny_data_dir, genotype):
  """By hand: no axis of seeds, and the step of one network."""
  config = small(
    tiny_data_dir, genotype, **{'seed': SEEDS[1], 'train.num_seeds': 1}
  )
  assert {path.name for path in alone.iterdir()} == {
    *('.lock', 'checkpoints', 'config.json', 'data.json', 'environment.json'),
    *('genotype.json', 'metrics.jsonl', 'results.json'),
    *('samples.npz', 'scores.csv', 'tensorboard'),
  }
  model = settings.network(config, small_genotype())
  optimizer = settings.training(config).optimizer()
  mesh = sharding.make_mesh()
  replicated = sharding.replicated(mesh)
  state = jax.jit(
    lambda: train.initial_state(
      model, settings.example_input(config), SEEDS[1], optimizer
    ),
    out_shardings=replicated,
  )()
  step = jax.jit(
    functools.partial(
      train.raw_step,
      seed=SEEDS[1] + 3,
      prepare=settings.prepare(config, config.network.output_size),
      loss_fn=supervised.network_loss(
        model, settings.input_form(config), settings.objective(config)
      ),
      optimizer=optimizer,
    ),
    in_shardings=(replicated, sharding.batch_sharding(mesh)),
    out_shardings=replicated,
    donate_argnums=0,
  )
  selection = settings.selection(config)
  stream = settings.training_batches(
    config, 'light', config.network.output_size
  )(
    selection.train,
    batch_size=config.train.batch_size,
    seed=SEEDS[1] + 3,
  )
  for _ in range(STEPS):
    state, _ = step(state, sharding.put_batch(next(stream), mesh))
  stream.close()
  kept = state_of(alone)
  assert_equal_trees(kept['params'], state.params)
  assert_equal_trees(kept['batch_stats'], state.batch_stats)


def test_the_initial_networks_are_those_of_the_seeds(tiny_data_dir, genotype):
  config = small(tiny_data_dir, genotype)
  # The last one is above what an int32 holds.
  seeds = [*SEEDS, 2**31 + 1]

  def make(seed):
    return train.initial_state(
      settings.network(config, small_genotype()),
      settings.example_input(config),
      seed,
      settings.training(config).optimizer(),
    )

  stacked = jax.jit(jax.vmap(make))(train._as_array(seeds))
  for place, seed in enumerate(seeds):
    assert_equal_trees(
      states.member(stacked, place), jax.jit(lambda seed=seed: make(seed))()
    )


@pytest.mark.parametrize('process_count', [1, 2])
@pytest.mark.parametrize('balance', ['', 'class'])
def test_member_batches_are_those_of_each_seed(
  balance, process_count, tiny_data_dir, genotype
):
  config = small(tiny_data_dir, genotype)
  rows = settings.selection(config).train
  options = {
    'batch_size': 6,
    'balance': balance,
    'process_index': process_count - 1,
    'process_count': process_count,
  }
  both = settings.member_batches(config, 'light', 4)(
    rows, seeds=[3, 9], step=2, **options
  )
  apart = [
    settings.training_batches(config, 'light', 4)(
      rows, seed=seed, step=2, **options
    )
    for seed in (3, 9)
  ]
  for _ in range(3):
    stacked = next(both)
    for place, stream in enumerate(apart):
      assert_equal_trees(states.member(stacked, place), next(stream))
  for stream in (both, *apart):
    stream.close()


def test_what_reads_a_run_names_the_members(together, tmp_path):
  workdir, _ = together
  message = f"holds 2 networks, one for each seed; .*'{workdir}/seed5' to "
  with pytest.raises(ValueError, match=message):
    detector.load(workdir)
  with pytest.raises(ValueError, match=f'config.checkpoint: .*{message}'):
    evaluate.read_run_config(workdir)
  with pytest.raises(ValueError, match=f'give theirs: {workdir}/seed5, '):
    runs_page.write([workdir], tmp_path / 'index.html')
  loaded = detector.load(workdir / 'seed6')
  kept = states.member(state_of(workdir), 1)
  assert_equal_trees(loaded.variables['params'], kept['params'])
  assert loaded.genotype == genotypes.load(workdir / 'genotype.json')


def raw_batch(config):
  """Its shapes."""
  size = (config.train.batch_size,)
  if config.train.num_seeds > 1:
    size = (config.train.num_seeds, *size)
  return device_work.raw_clips(
    *size, frames=config.data.num_frames, size=config.data.image_size + 4
  )


@pytest.mark.parametrize('spread', ['networks', 'clips'])
def test_the_devices_divide_the_work(spread, genotype, tmp_path, monkeypatch):
  """Networks within a process; the clips of each over several processes."""
  device_work.as_on_accelerators(monkeypatch)
  config = small(tmp_path, genotype)
  network = settings.network(config, genotypes.load(genotype))

  def compile_step():
    make, step, draws, of_batch = train.make_step(config, network)
    mesh = of_batch.mesh
    axis = 'task' if spread == 'networks' else 'data'
    assert mesh.shape[axis] == mesh.size
    lowered = step.lower(jax.eval_shape(make), raw_batch(config), draws)
    return lowered.compile()

  if spread == 'clips':
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
  share = device_work.share(compile_step, monkeypatch)
  assert share < 1.1 / len(jax.devices())


@pytest.mark.parametrize('num_seeds', [1, 2])
def test_a_program_is_that_of_every_seed(num_seeds, genotype, tmp_path):
  """So the cache of compiled programs has it: the text is what it looks up."""

  def programs(seed):
    config = small(
      tmp_path, genotype, **{'seed': seed, 'train.num_seeds': num_seeds}
    )
    network = settings.network(config, genotypes.load(genotype))
    make, step, draws, _ = train.make_step(config, network)
    raw = raw_batch(config)
    state = jax.eval_shape(make)
    return make.func.lower(*make.args).as_text(), step.lower(
      state, raw, draws
    ).as_text()

  assert programs(5) == programs(9)


def test_a_family_takes_one_seed(tiny_data_dir, genotype, tmp_path):
  config = small(tiny_data_dir, genotype, protocol='synthetic_fas/type')
  with pytest.raises(ValueError, match='num_seeds is 2; allowed with .*: 1'):
    main.run(config, tmp_path)


ROWS = [{'clip_id': f'clip-{i}'} for i in range(8)]


def fitting(bad=()):
  """Two weights fitted side by side; `bad` are pairs (step, member)."""

  def stream(start):
    for number in range(start + 1, 7):
      x = np.float32([[number, 1], [1, number]])
      index = np.int32([[number, 0], [0, number]])
      for step, member in bad:
        if step == number:
          x[member, 0] = np.nan
      yield {'x': jnp.asarray(x), 'index': jnp.asarray(index)}

  @jax.jit
  @jax.vmap
  def step(state, batch):
    weight = state.params - 0.1 * jnp.mean(state.params - batch['x'])
    loss = jnp.mean(jnp.square(batch['x'] - state.params))
    state = state.replace(step=state.step + 1, params=weight)
    return state, {'train_loss': loss}

  return loop.Program(
    name='train',
    title='Fitting',
    num_steps=6,
    state=TrainState(
      step=jnp.zeros(2, jnp.int32),
      params=jnp.zeros(2),
      batch_stats={},
      opt_state=(),
      skipped=jnp.zeros(2, jnp.int32),
    ),
    compile=lambda state, batch: step,
    batches=stream,
    observe=lambda state, scalars, done: loop.Observed(loop.read(scalars)),
    clips=lambda batch: [
      (ROWS, states.member(batch, place)) for place in range(2)
    ],
    members=('seed 7', 'seed 8'),
  )


def run(program, workdir, max_skipped):
  workdir.mkdir()
  return loop.run(
    program,
    workdir,
    log_every=3,
    checkpoint_every=3,
    max_skipped=max_skipped,
  )


def test_a_step_is_skipped_for_its_seed_only(tmp_path, capsys):
  state = run(fitting([(2, 1), (6, 1)]), tmp_path / 'bad', 2)
  said = capsys.readouterr().err
  whole = run(fitting(), tmp_path / 'good', 2)
  assert state.params[0] == whole.params[0]
  assert state.params[1] != whole.params[1] and np.isfinite(state.params[1])
  assert state.skipped.tolist() == [0, 2]
  assert (
    "Skipped step 2 of 'train of seed 8': train_loss is nan. Of its clips, "
    "'clip-0' hold"
  ) in said
  assert 'of seed 7' not in said
  last = run_log.read_metrics(tmp_path / 'bad' / 'metrics.jsonl')[-1]
  # A step that a seed skipped has no loss, and the mean is that of the others.
  assert 'train_loss' not in last['members'][1]
  assert last['train_loss'] == last['members'][0]['train_loss']
  assert last['skipped_steps'] == last['members'][1]['skipped_steps'] == 2
  assert last['members'][0]['skipped_steps'] == 0


@pytest.mark.parametrize(
  ('max_skipped', 'message'),
  [
    (0, "train_loss is nan at step 2 of 'train of seed 8'. Of its clips"),
    (1, "2 steps of 'train of seed 8' were skipped; allowed: 1"),
  ],
)
def test_one_seed_that_diverges_ends_all(max_skipped, message, tmp_path):
  with pytest.raises(FloatingPointError, match=message):
    run(fitting([(2, 1), (5, 1)]), tmp_path / 'run', max_skipped)


def test_one_bad_step_of_each_is_no_seeds_second(tmp_path):
  state = run(fitting([(2, 1), (3, 0)]), tmp_path / 'run', 1)
  assert state.skipped.tolist() == [1, 1]
  assert nonfinite.count(state) == 1
