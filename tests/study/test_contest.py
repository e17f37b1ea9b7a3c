"""The question 'search', on runs that are made up."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_configs import search as search_config
from nasfas_configs import study as study_config
from nasfas_jax import files, run_config, settings
from nasfas_jax.models import architecture, cost, genotypes, search_spaces
from nasfas_jax.searchers import zero_cost
from nasfas_jax.study import contest, experiment, jobs

SHIPPED = [
  *('search', 'search,short', 'search,short,long', 'search,debug'),
  *('search,short,small', 'search,wide', 'search,wide,debug'),
]


@pytest.fixture
def config():
  config = study_config.get_config('search')
  config.study.num_workers = 0
  config.study.contest.update(seeds=(0, 1), methods=('random', 'halving'))
  config.study.contest.gradients = {
    'plain': {'variants': 'plain', 'settings': {}}
  }
  return config


def worth(genotype):
  """In [0, 1]: larger where more edges have one operation."""
  edges = [e for level in genotype.cells for cell in level for e in cell.edges]
  return 0.5 + 0.4 * float(np.mean([e.operation == 'cdc_3x3' for e in edges]))


class Runs:
  """Finishes jobs by the worth of their genotypes; remembers them."""

  def __init__(self, workdir, most=10**9):
    self.workdir, self.most, self.begun = workdir, most, {}

  def __call__(self, listed):
    for job in listed:
      if job.name not in self.begun and len(self.begun) < self.most:
        self.begun[job.name] = job
        self.finish(job)
    return {
      job.name: files.read_json(self.workdir / job.name / 'results.json')
      for job in listed
      if job.name in self.begun
    }

  def finish(self, job):
    folder = self.workdir / job.name
    if job.inputs:
      path = dict(job.inputs)['config.genotype']
      value = worth(genotypes.load(self.workdir / path))
    else:
      value = 0.6
      genotypes.CDCNPP.save(folder / 'genotype.json')
    test = {'auc': value - 0.1, 'hter': 1 - value}
    files.write_json(
      folder / 'results.json',
      {
        'splits': {'dev': {'auc': value}, 'test': test},
        'model': {'num_parameters': 1234},
      },
    )
    files.write_json(folder / jobs.ARGUMENTS_FILE, job.kept_arguments())


def seed_of(job):
  """The seed of a job's training, by its arguments."""
  (seed,) = [a for a in job.arguments if a.startswith('--config.seed=')]
  assert job.name.endswith(f'/seed{seed.partition("=")[2]}')
  return int(seed.partition('=')[2])


def no_score(name, genotype, seed):
  raise AssertionError('no score is asked for')


@pytest.mark.parametrize('variants', SHIPPED)
def test_the_shipped_questions_pass(variants):
  config = study_config.get_config(variants)
  experiment.check(config)
  planned = experiment.read_contest(config)
  assert bool(planned.gradients) == ('wide' not in variants)
  # The smallest run has one search of each kind.
  assert (
    len(planned.rows)
    == {
      'search': 13,
      'search,short': 4,
      'search,short,long': 2,
      'search,short,small': 3,
      'search,wide': 7,
      'search,debug': 4,
      'search,wide,debug': 3,
    }[variants]
  )
  fields = run_config.flatten(search_config.get_config())
  some = contest.final_jobs(planned, planned.rows[-1], planned.seeds[0], 'g')
  some += [
    contest.gradient_job(planned, row, planned.seeds[0])
    for row in planned.gradients
  ]
  for job in some:
    for argument in job.arguments:
      name = argument.partition('=')[0].removeprefix('--config.')
      assert name == '--config' or name in fields
  for row in planned.gradients:
    # The searches by gradient have the cells of the others.
    arguments = contest.gradient_job(planned, row, planned.seeds[0]).arguments
    one = search_config.get_config(planned.gradients[row].variants)
    for argument in arguments[1:]:
      path, _, value = argument.removeprefix('--config.').partition('=')
      if path.startswith('supernet.num'):
        one.update_from_flattened_dict({path: int(value)})
    assert one.supernet.num_nodes == planned.num_nodes
    assert one.supernet.num_cells == planned.num_cells
    # What a job says is what configs/search.py has variants for.
    search_config.get_config(planned.gradients[row].variants)


def test_a_short_training_has_a_short_warm_up(config, tmp_path):
  planned = experiment.read_contest(config)
  runs = Runs(tmp_path)
  contest.play(planned, tmp_path, runs, no_score)
  job = runs.begun['halving/seed0/trial0/seed1000']
  assert '--config.train.num_steps=60' in job.arguments
  assert '--config.train.warmup_steps=7' in job.arguments
  whole = runs.begun['random/seed0/trial0/seed0']
  assert '--config.train.num_steps=400' in whole.arguments
  assert '--config.train.warmup_steps=50' in whole.arguments
  search = runs.begun['plain/seed1']
  assert search.arguments[0] == '--config=search:plain'
  assert '--config.train.num_steps=1' in search.arguments
  assert '--config.train.num_steps=400' not in search.arguments[-4:]


def test_every_search_chooses_and_no_training_shares_its_seed(config, tmp_path):
  planned = experiment.read_contest(config)
  runs = Runs(tmp_path)
  chosen = contest.play(planned, tmp_path, runs, no_score)
  assert set(chosen) == {
    (row, seed) for row in ('random', 'halving', 'plain') for seed in (0, 1)
  }
  for seed in (0, 1):
    drawn = [contest.draw(planned, seed, place) for place in range(18)]
    # Halving begins with what the random search sees, and more.
    path = tmp_path / chosen['random', seed]
    assert worth(genotypes.load(path)) == max(map(worth, drawn[:8]))
    path = tmp_path / chosen['halving', seed]
    assert worth(genotypes.load(path)) == max(map(worth, drawn))
  finals = [
    job
    for one, path in chosen.items()
    for job in contest.final_jobs(planned, *one, path)
  ]
  trained = [job for job in (*runs.begun.values(), *finals) if job.inputs]
  assert len({seed_of(job) for job in trained}) == len(trained)
  # Two searches by trials: 8 of one, 18 + 5 * 2 + 2 * 3 of the other.
  assert len(trained) == 2 * (8 + 34) + 6 * 2


def test_a_stopped_study_goes_on_where_it_was(config, tmp_path):
  planned = experiment.read_contest(config)
  whole = Runs(tmp_path / 'whole')
  expected = contest.play(planned, whole.workdir, whole, no_score)
  part = Runs(tmp_path / 'part', most=30)
  first = contest.play(planned, part.workdir, part, no_score)
  assert set(first) < set(expected)
  again = Runs(part.workdir)
  again.begun = dict(part.begun)
  assert contest.play(planned, part.workdir, again, no_score) == expected
  assert again.begun == whole.begun
  for path in expected.values():
    assert (part.workdir / path).read_text() == (
      whole.workdir / path
    ).read_text()
  # Another search in the same folder.
  other = dataclasses.replace(planned, num_nodes=2)
  with pytest.raises(ValueError, match='trial0.json is another genotype'):
    contest.play(other, part.workdir, again, no_score)


def test_scores_without_training_are_computed_once(config, tmp_path):
  config.study.contest.methods = ('parameters', 'synflow')
  config.study.contest.gradients = {}
  config.study.contest.candidates = 3
  planned = experiment.read_contest(config)
  asked = []

  def score(name, genotype, seed):
    asked.append((name, seed))
    return np.inf if name == 'synflow' else worth(genotype)

  for _ in range(2):
    known = contest.Known(tmp_path / 'zero_cost.json', score)
    chosen = contest.play(planned, tmp_path, Runs(tmp_path), known)
    assert len(asked) == 2 * 2 * 3
  found = genotypes.load(tmp_path / chosen['parameters', 1])
  drawn = [contest.draw(planned, 1, place) for place in range(3)]
  assert worth(found) == max(map(worth, drawn))
  # Of equal scores the first.
  assert genotypes.load(tmp_path / chosen['synflow', 0]) == contest.draw(
    planned, 0, 0
  )


def write_ceiling(path, config, values):
  """As of a study whose data lay elsewhere."""
  fields = dict(experiment.read_contest(config).config)
  content = {
    'space': config.study.contest.space,
    'protocol': config.protocol,
    'cells': {
      name: config.supernet[name]
      for name in ('num_cells', 'num_nodes', 'theta')
    },
    'config': fields,
    'tables': {
      'auc': {f'g{i}': [v, v] for i, v in enumerate(values)},
      # On a line with the AUC: 1,000 parameters for each 0.02.
      'parameters': {
        f'g{i}': [50_000 * v, 50_000 * v] for i, v in enumerate(values)
      },
    },
  }
  files.write_json(path, content)


def test_the_report_stands_beside_random_genotypes(config, tmp_path, capsys):
  config.study.contest.seeds = tuple(range(4))
  config.data.data_dir = 'there'
  ceiling = tmp_path / 'ceiling.json'
  write_ceiling(ceiling, config, [0.40, 0.42, 0.44, 0.46])
  config.study.contest.ceiling = str(ceiling)
  planned = experiment.read_contest(config)
  runs = Runs(tmp_path)
  for one, path in contest.play(planned, tmp_path, runs, no_score).items():
    runs(contest.final_jobs(planned, *one, path))
  experiment.study(config, tmp_path)
  assert '12 of 12 searches are finished' in capsys.readouterr().err
  content = files.read_json(tmp_path / 'report' / 'search.json')
  assert content['config'] == files.read_json(ceiling)['config']
  rows = content['rows']
  assert list(rows) == ['random', 'halving', 'plain']
  assert rows['random']['steps'] == 8 * 400
  assert rows['halving']['steps'] == 18 * 60 + 5 * 2 * 100 + 2 * 3 * 180
  # CDCN++ has a fifth of its edges with cdc_3x3.
  assert rows['plain']['auc'] == pytest.approx([0.5 + 0.4 / 5 - 0.1] * 4)
  assert rows['plain']['percentiles'] == [1.0] * 4
  assert rows['plain']['less_random']['mean'] == pytest.approx(0.05)
  gap = content['pairs']['halving less random']
  assert gap['low'] <= gap['mean'] <= gap['high'] and gap['mean'] >= 0
  page = (tmp_path / 'report' / 'search.md').read_text()
  assert '**Shown to be above a random genotype: ' in page
  assert '| a random genotype | 4 | – | 21,500 | 0.430 | | 50% | | |' in page
  assert rows['plain']['auc_of_size'] == pytest.approx([1234 / 50_000] * 4)
  assert '| 4 | – | 1,234 | 0.480 |' in page
  assert 'They have 20,000 to 23,000 parameters' in page
  svg = (tmp_path / 'report' / 'search.svg').read_text()
  assert 'search.svg' in page and svg.startswith('<?xml')
  # A ceiling of other trainings is none for these.
  config.train.num_steps = 300
  with pytest.raises(
    ValueError, match='ceiling: .* as config, train.num_steps 400; .*, 300'
  ):
    experiment.study(config, tmp_path)
  config.train.num_steps = 400
  # Nor is one of other cells.
  config.supernet.theta = 0.3
  with pytest.raises(ValueError, match=r'cells, theta 0\.\d; .*, 0\.3'):
    experiment.study(config, tmp_path)


def test_a_report_before_anything_is_finished(config, tmp_path):
  experiment.study(config, tmp_path)
  page = (tmp_path / 'report' / 'search.md').read_text()
  assert '**Not known: too few runs are finished.**' in page
  assert 'search.svg' not in page


def test_the_verdict_names_what_is_above_chance_and_what_is_below():
  def said(**gaps):
    return contest.verdict(
      {
        'rows': {
          row: {'less_random': {'low': low, 'mean': 0.0, 'high': high}}
          for row, (low, high) in gaps.items()
        },
        'random': [0.5],
      }
    )

  assert said(plain=(-0.1, 0.1)) == (
    'No search is shown to be above a random genotype.'
  )
  assert said(plain=(-0.2, -0.1), domain=(-0.1, 0.1), naswot=(0.1, 0.2)) == (
    'Shown to be above a random genotype: naswot. '
    'Shown to be below a random genotype: plain.'
  )
  assert said(type_perturbation=(-0.2, -0.1)) == (
    'No search is shown to be above a random genotype. '
    'Shown to be below a random genotype: type perturbation.'
  )


def test_differences_have_students_and_welchs_intervals():
  # By hand: mean 2, deviation 1, t of two degrees 4.303.
  found = contest._interval(2.0, [1.0, 2.0, 3.0])
  assert found['high'] == pytest.approx(2 + 4.3027 / 3**0.5, abs=1e-3)
  # Equal spreads and sizes: four degrees, 2.776 times sqrt(2 / 3).
  found = contest.unpaired([1.0, 2.0, 3.0], [0.0, 1.0, 2.0])
  assert found['mean'] == pytest.approx(1)
  assert found['low'] == pytest.approx(1 - 2.7764 * (2 / 3) ** 0.5, abs=1e-3)
  assert contest.unpaired([1.0], [0.0, 1.0]) is None
  same = contest.unpaired([1.0, 1.0], [0.5, 0.5])
  assert same == {'mean': 0.5, 'low': None, 'high': None}
  content = {'rows': {'plain': {'less_random': same}}, 'random': [0.5, 0.5]}
  assert contest.verdict(content) == 'Not known: too few runs are finished.'
  content['random'] = []
  assert contest.verdict(content).startswith('No random genotypes: config')


def test_rows_are_compared_with_what_they_vary():
  rows = dict.fromkeys(
    (*contest.METHODS, 'plain', 'plain_perturbation', 'type_perturbation')
  )
  assert contest._others('random', rows) == []
  assert contest._others('fewest_parameters', rows) == ['random']
  baselines = ['random', 'fewest_parameters']
  assert contest._others('halving', rows) == baselines
  assert contest._others('plain', rows) == baselines
  assert contest._others('plain_perturbation', rows) == [*baselines, 'plain']
  assert contest._others('type_perturbation', rows) == [
    *(*baselines, 'plain_perturbation')
  ]


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('methods', ('prayer',), "methods holds 'prayer'; allowed: random, halv"),
    ('seeds', (), r'contest.seeds is \(\); allowed: 1 to'),
    ('final_seeds', 0, 'final_seeds is 0; allowed: 1 to'),
    ('rungs', ((2, 3),), r'rungs holds \(2, 3\); allowed: \(candidates'),
    ('rungs', (), r'rungs is \(\)'),
    ('rungs', ((2, 1, 1), (2, 1, 1)), r'halving: .*\[2, 2\] candidates'),
    ('rungs', ((900, 1, 2),), 'rungs has 1800 trainings; allowed: 1 to'),
    ('space', 'wide', "gradients holds .*'wide', of which there is no sup"),
    ('space', 'x', "space is 'x'; allowed: cdcnpp"),
    ('clips', 1, 'clips is 1; allowed: 2 to'),
  ],
)
def test_a_bad_value_is_refused_before_the_first_run(field, value, message):
  config = study_config.get_config('search')
  config.study.contest[field] = value
  with pytest.raises(ValueError, match=message):
    experiment.check(config)


def test_bad_searches_are_refused():
  config = study_config.get_config('search')
  config.study.contest.gradients.plain.settings.search.num_steps = 0
  with pytest.raises(ValueError, match=r'gradients.plain: .*num_steps is 0'):
    experiment.check(config)
  config = study_config.get_config('search')
  config.study.contest.evolution.population = 16
  with pytest.raises(ValueError, match='contest, evolution: The population is'):
    experiment.check(config)
  for name in ('wide', 'short'):
    with pytest.raises(ValueError, match=f"'{name}' needs (a|the) question"):
      study_config.get_config(name)
  with pytest.raises(ValueError, match="'long' needs the variant 'short'"):
    study_config.get_config('search,long')
  with pytest.raises(ValueError, match="'small' needs the variant 'short'"):
    study_config.get_config('search,small')


def test_all_searches_have_one_cost():
  """In clips through a random genotype; with a gradient they count three."""
  config = study_config.get_config('search')
  planned = experiment.read_contest(config)
  batch = config.train.batch_size
  budget = 8 * planned.num_steps * batch * 3
  for method in ('random', 'halving', 'evolution'):
    assert 0.97 * budget <= planned.steps(method) * batch * 3 <= budget
  side = config.data.image_size
  image = jax.ShapeDtypeStruct((1, side, side, 6), jnp.float32)
  mean = np.mean(
    [
      cost.of_network(
        settings.network(config, contest.draw(planned, 0, place)), image
      ).macs
      for place in range(12)
    ]
  )
  model = settings.supernet(config)
  arch = jax.eval_shape(
    lambda: architecture.init_arch(
      jax.random.key(0),
      space=model.space,
      num_cells=model.num_cells,
      num_nodes=model.num_nodes,
    )
  )
  variables = jax.eval_shape(
    lambda x, arch: model.init(jax.random.key(0), x, arch, train=False),
    *(image, arch),
  )
  supernet = cost.count_macs(
    lambda variables, x, arch: model.apply(variables, x, arch, train=False).map,
    *(variables, image, arch),
  )
  ratio = supernet / mean
  edges = search_spaces.num_edges(model.num_nodes) * 3
  space = search_spaces.get_space(model.space)
  passes = edges * len(search_spaces.derivable(space)) + 3 * (2 + 3 + 4 + 4)

  def budget_of(gradient):
    one = search_config.get_config(gradient.variants)
    one.update_from_flattened_dict(run_config.flatten(gradient.fields))
    steps, warmup = one.search.num_steps, one.search.warmup_steps
    if one.search.hold_out == 'none':
      clips = 3 * one.search.batch_size * (2 * steps - warmup)
    else:
      task = one.meta.support_size + one.meta.query_size
      clips = 3 * steps * one.meta.num_tasks * task
    if one.search.selection == 'perturbation':
      clips += passes * one.search.selection_batches * one.search.batch_size
    return ratio * clips

  for row, gradient in planned.gradients.items():
    assert 0.9 * budget <= budget_of(gradient) <= 1.1 * budget, row
  short = experiment.read_contest(study_config.get_config('search,short'))
  trainings = {
    row: budget_of(gradient) / budget * 8
    for row, gradient in short.gradients.items()
  }
  expected = {'plain': 1.2, 'domain': 1.5, 'type': 1.5}
  assert trainings == pytest.approx(expected, abs=0.1)
  assert set(planned.methods) - {'random', 'halving', 'evolution'} == set(
    zero_cost.SCORES
  )


def test_a_score_without_training_sees_the_clips_of_the_protocol(
  tiny_data_dir, tmp_path, monkeypatch
):
  config = study_config.get_config('search,debug')
  config.protocol = 'synthetic_fas/unseen_rooms'
  config.data.update(data_dir=str(tiny_data_dir), image_size=16, num_frames=2)
  seen = []

  def score(name, model, images, seed):
    seen.append((name, images.shape, seed))
    return 1.0

  monkeypatch.setattr(zero_cost, 'score', score)
  of_config = experiment._zero_cost(
    config, tmp_path, config.study.contest.clips
  )
  genotype = contest.draw(experiment.read_contest(config), 0, 0)
  assert of_config('naswot', genotype, 3) == 1.0
  assert seen == [('naswot', (4, 16, 16, 6), 3)]
  # It is kept, but not for another number of clips.
  assert of_config('naswot', genotype, 3) == 1.0
  experiment._zero_cost(config, tmp_path, 2)('naswot', genotype, 3)
  assert seen[1:] == [('naswot', (2, 16, 16, 6), 3)]
