"""The question: which search finds better networks than chance, at equal cost?

Every search is run from several seeds. What it chose is then trained anew, from
seeds that no search has seen, and judged on the test clips. The searches by
trials (`searchers.trials`) advance side by side, round by round; the score of a
trial is its AUC on dev clips, those of seen rooms. Searches with one seed draw
the same random genotypes.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nasfas_jax import files
from nasfas_jax.models import sampling
from nasfas_jax.models.genotypes import Genotype
from nasfas_jax.report import charts
from nasfas_jax.searchers import trials, zero_cost
from nasfas_jax.study import markdown, statistics
from nasfas_jax.study.jobs import Job, keep_genotype
from nasfas_jax.study.plan import Fields, to_flags

# Searches without a supernet.
METHODS = ('random', 'halving', 'evolution', *zero_cost.SCORES)
# What every search is compared with: chance, and a choice without training.
_BASELINES = ('random', 'fewest_parameters')
# Separates the seeds of one search's trainings from the next one's.
_SEEDS = 1000
_FINAL_SEEDS = 10_000_000
# Separates the genotypes from those of other questions.
_STREAM = 17
# Share of a short training that warms up.
_WARMUP = 1 / 8


@dataclasses.dataclass(frozen=True)
class Gradient:
  """A search by gradient.

  Attributes:
    variants: of configs/search.py.
    fields: that it sets.
  """

  variants: str
  fields: Fields


@dataclasses.dataclass(frozen=True)
class Evolution:
  """See `trials.regularised_evolution`."""

  evaluations: int
  population: int
  sample: int
  num_steps: int


@dataclasses.dataclass(frozen=True)
class Plan:
  """What is compared.

  Attributes:
    space: of the searches.
    num_cells: cells per level.
    num_nodes: intermediate nodes of a cell.
    theta: of the genotypes; a space with a fixed theta overrides it.
    protocol: of all runs.
    seeds: of the searches.
    final_seeds: trainings of each chosen genotype.
    methods: some of `METHODS`.
    gradients: searches by gradient, by their row.
    random: trainings of the random search.
    rungs: of successive halving.
    evolution: of the evolution.
    candidates: genotypes that a score without training is taken of.
    num_steps: of a whole training.
    warmup_steps: of a whole training.
    fields: of every run that are not the default, path -> value.
    supernet: the same of the searches by gradient, which have supernets.
    config: every field of the trainings, as a report says it.
  """

  space: str
  num_cells: int
  num_nodes: int
  theta: float
  protocol: str
  seeds: Sequence[int]
  final_seeds: int
  methods: Sequence[str]
  gradients: Mapping[str, Gradient]
  random: int
  rungs: Sequence[trials.Rung]
  evolution: Evolution
  candidates: int
  num_steps: int
  warmup_steps: int
  fields: Fields
  supernet: Fields
  config: Fields

  @property
  def rows(self) -> list[str]:
    """All searches, as they stand in the table."""
    return [*self.methods, *self.gradients]

  def steps(self, row: str) -> int:
    """Steps of training that a search by trials takes."""
    return {
      'random': self.random * self.num_steps,
      'halving': sum(rung.steps for rung in self.rungs),
      'evolution': self.evolution.evaluations * self.evolution.num_steps,
    }.get(row, 0)

  def first_seed(self, row: str, seed: int) -> int:
    """The first of the seeds of a search's own trainings."""
    place = (*METHODS, *self.gradients).index(row)
    number = len(METHODS) + len(self.gradients)
    return (self.seeds.index(seed) * number + place) * _SEEDS


def draw(plan: Plan, seed: int, place: int) -> Genotype:
  """One of the random genotypes that all searches of a seed draw."""
  return sampling.random_genotype(
    np.random.default_rng((_STREAM, seed, place)),
    space=plan.space,
    num_cells=plan.num_cells,
    num_nodes=plan.num_nodes,
    theta=plan.theta,
    provenance={'question': 'search', 'seed': seed, 'number': place},
  )


# (name of a score, genotype, seed) -> the score.
Score = Callable[[str, Genotype, int], float]


def make_search(
  plan: Plan, method: str, seed: int, score: Score
) -> trials.Search:
  """One of the searches by trials."""
  first_seed = plan.first_seed(method, seed)

  def drawn(place):
    return draw(plan, seed, place)

  if method == 'random':
    return trials.random_search(
      drawn,
      number=plan.random,
      num_steps=plan.num_steps,
      first_seed=first_seed,
    )
  if method == 'halving':
    return trials.successive_halving(drawn, plan.rungs, first_seed=first_seed)
  if method == 'evolution':
    return trials.regularised_evolution(
      drawn,
      lambda rng, parent: sampling.mutate(
        rng, parent, num_nodes=plan.num_nodes
      ),
      **dataclasses.asdict(plan.evolution),
      first_seed=first_seed,
    )
  return trials.by_score(
    drawn,
    lambda genotype: score(method, genotype, seed),
    number=plan.candidates,
  )


def run_name(row: str, seed: int) -> str:
  """The folder of a search."""
  return f'{row}/seed{seed}'


def genotype_path(trial: str) -> str:
  """Where the genotype of a trial lies; its folder is that of the training."""
  return f'genotypes/{trial}.json'


def trial_jobs(plan: Plan, name: str, trial: trials.Trial) -> list[Job]:
  """The trainings of a trial, in the folder of this name."""
  warmup = min(plan.warmup_steps, int(trial.num_steps * _WARMUP))
  return _trainings(
    plan,
    name,
    genotype_path(name),
    range(trial.seed, trial.seed + trial.num_seeds),
    {'train': {'num_steps': trial.num_steps, 'warmup_steps': warmup}},
  )


def _trainings(plan: Plan, name, genotype, seeds, changes) -> list[Job]:
  """Trainings that differ in their seed only, in one folder."""
  return [
    Job(
      f'{name}/seed{seed}',
      (
        '--config=train',
        *to_flags(
          plan.fields, {'protocol': plan.protocol, 'seed': seed}, changes
        ),
      ),
      inputs=(('config.genotype', genotype),),
    )
    for seed in seeds
  ]


def gradient_job(plan: Plan, row: str, seed: int) -> Job:
  """A search by gradient; the training after it is one step."""
  chosen = plan.gradients[row]
  flags = to_flags(
    plan.fields,
    plan.supernet,
    {'protocol': plan.protocol, 'seed': seed},
    chosen.fields,
    {
      'train': {'num_steps': 1, 'warmup_steps': 0},
      'supernet': {'space': plan.space},
    },
  )
  return Job(
    run_name(row, seed), (f'--config=search:{chosen.variants}', *flags)
  )


def final_jobs(plan: Plan, row: str, seed: int, genotype: str) -> list[Job]:
  """The trainings of what a search chose.

  Args:
    plan: see `Plan`.
    row: of the search.
    seed: of the search.
    genotype: path of the chosen one below the workdir.
  """
  number = plan.first_seed(row, seed) // _SEEDS
  first = _FINAL_SEEDS + number * plan.final_seeds
  seeds = range(first, first + plan.final_seeds)
  return _trainings(plan, f'final/{run_name(row, seed)}', genotype, seeds, {})


class Known:
  """Scores without training, kept in a file: none is computed twice."""

  def __init__(self, path: pathlib.Path, compute: Score):
    self._path = path
    self._compute = compute
    self._known = files.read_json(path) if path.exists() else {}

  def __call__(self, name: str, genotype: Genotype, seed: int) -> float:
    content = dataclasses.replace(genotype, provenance={}).to_json()
    key = f'{name}/{seed}/{hashlib.sha256(content.encode()).hexdigest()}'
    if key not in self._known:
      value = self._compute(name, genotype, seed)
      # JSON has no infinity.
      self._known[key] = float(np.clip(value, -1e300, 1e300))
      files.write_json(self._path, self._known)
    return self._known[key]


# Runs jobs, and returns the results.json of those that are finished by name.
Run = Callable[[list[Job]], Mapping[str, dict]]


def play(
  plan: Plan, workdir: pathlib.Path, run: Run, score: Score
) -> dict[tuple[str, int], str]:
  """Advances every search as far as its trials are finished.

  Args:
    plan: what is compared.
    workdir: of the study; genotypes are written there.
    run: see `Run`.
    score: of genotypes without training.

  Returns:
    (row, seed) -> the path of the chosen genotype below the workdir, of the
    searches that are at their end.
  """
  chosen = {}
  gradients = [(row, seed) for seed in plan.seeds for row in plan.gradients]
  finished = run([gradient_job(plan, *one) for one in gradients])
  for one in gradients:
    if run_name(*one) in finished:
      chosen[one] = f'{run_name(*one)}/genotype.json'
  waiting = {
    (method, seed): (make_search(plan, method, seed, score), None, 0)
    for seed in plan.seeds
    for method in plan.methods
  }
  while waiting:
    asked = {}
    for one, (search, scores, number) in waiting.items():
      try:
        found = search.send(scores)
      except StopIteration as end:
        path = f'{run_name(*one)}/genotype.json'
        keep_genotype(workdir / path, end.value)
        chosen[one] = path
        continue
      listed = []
      for place, trial in enumerate(found, number):
        name = f'{run_name(*one)}/trial{place}'
        keep_genotype(workdir / genotype_path(name), trial.genotype)
        listed.append(trial_jobs(plan, name, trial))
      asked[one] = (search, listed, number + len(listed))
    results = run(
      [
        job
        for _, listed, _ in asked.values()
        for trained in listed
        for job in trained
      ]
    )
    waiting = {}
    for one, (search, listed, number) in asked.items():
      # A search whose trials are not all there stays where it is.
      if all(job.name in results for trained in listed for job in trained):
        scores = [
          float(np.mean([_dev_auc(results[job.name]) for job in trained]))
          for trained in listed
        ]
        waiting[one] = (search, scores, number)
  return chosen


def _dev_auc(results: Mapping) -> float:
  return results['splits']['dev']['auc']


@dataclasses.dataclass(frozen=True)
class Random:
  """The random genotypes of the question 'ceiling'.

  Attributes:
    auc: mean test AUC of each.
    parameters: number of each.
  """

  auc: Sequence[float] = ()
  parameters: Sequence[float] = ()

  def line(self) -> np.polynomial.Polynomial | None:
    """Number of parameters -> test AUC, by least squares; None: too few."""
    if len(set(self.parameters)) < 3:
      return None
    return np.polynomial.Polynomial.fit(self.parameters, self.auc, 1)


def figures(
  plan: Plan,
  finals: Mapping[tuple[str, int], Sequence[dict]],
  random: Random,
) -> dict:
  """The content of search.json.

  Args:
    plan: what is compared.
    finals: (row, seed) -> the results.json of its final trainings, all of them.
    random: genotypes; without any, nothing is compared with them.
  """
  line = random.line()
  rows = {}
  for row in plan.rows:
    seeds = [seed for seed in plan.seeds if (row, seed) in finals]
    if not seeds:
      continue
    found = {
      name: [
        float(np.mean([r['splits']['test'][name] for r in finals[row, seed]]))
        for seed in seeds
      ]
      for name in ('auc', 'hter')
    }
    sizes = [finals[row, seed][0]['model']['num_parameters'] for seed in seeds]
    rows[row] = {
      'seeds': seeds,
      'steps': plan.steps(row),
      **found,
      'parameters': sizes,
      # What the line through the random genotypes says of such sizes.
      'auc_of_size': [] if line is None else [float(line(n)) for n in sizes],
      'percentiles': [
        statistics.percentile(value, random.auc) for value in found['auc']
      ]
      if len(random.auc)
      else [],
      'less_random': unpaired(found['auc'], random.auc),
    }
  pairs = {}
  for row in rows:
    for other in _others(row, rows):
      shared = sorted(set(rows[row]['seeds']) & set(rows[other]['seeds']))
      gaps = [
        rows[row]['auc'][rows[row]['seeds'].index(seed)]
        - rows[other]['auc'][rows[other]['seeds'].index(seed)]
        for seed in shared
      ]
      if len(gaps) > 1:
        pairs[f'{row} less {other}'] = _interval(np.mean(gaps), gaps)
  return {
    'protocol': plan.protocol,
    'space': plan.space,
    'config': dict(plan.config),
    'random': list(random.auc),
    'random_parameters': list(random.parameters),
    'rows': rows,
    'pairs': pairs,
  }


def _others(row: str, rows: Mapping) -> list[str]:
  """What a row is compared with, seed by seed."""
  before = _BASELINES.index(row) if row in _BASELINES else len(_BASELINES)
  found = list(_BASELINES[:before])
  if row not in METHODS:
    base, _, selection = row.partition('_')
    if selection:
      found.append(base)
    if base != 'plain':
      found.append('_'.join(['plain', *([selection] if selection else [])]))
  return [other for other in found if other in rows]


def _interval(mean: float, gaps: Sequence[float]) -> dict[str, float | None]:
  return _around(mean, [statistics.variance_of_mean(gaps)])


def _around(mean, parts) -> dict[str, float | None]:
  found = statistics.bounded(mean, parts)
  return dict(zip(('mean', 'low', 'high'), found, strict=True))


def unpaired(
  values: Sequence[float], others: Sequence[float]
) -> dict[str, float | None] | None:
  """The difference of two means with Welch's 95 % interval; None: too few."""
  if min(len(values), len(others)) < 2:
    return None
  gap = np.mean(values) - np.mean(others)
  return _around(gap, [*map(statistics.variance_of_mean, (values, others))])


def verdict(content: Mapping[str, Any]) -> str:
  """Which searches are shown to be above a genotype at random, or below."""
  tested = {
    row: value['less_random']
    for row, value in content['rows'].items()
    if value['less_random'] and value['less_random']['low'] is not None
  }
  if content['rows'] and not content['random']:
    return 'No random genotypes: config.study.contest.ceiling names none.'
  if not tested:
    return 'Not known: too few runs are finished.'
  found = {
    'above': [row for row, gap in tested.items() if gap['low'] > 0],
    'below': [row for row, gap in tested.items() if gap['high'] < 0],
  }
  said = [
    f'Shown to be {side} a random genotype: '
    f'{", ".join(rows).replace("_", " ")}.'
    for side, rows in found.items()
    if rows
  ]
  if not found['above']:
    said.insert(0, 'No search is shown to be above a random genotype.')
  return ' '.join(said)


def page(plan: Plan, content: Mapping[str, Any]) -> str:
  """The page, as Markdown."""
  lines = [
    f'# Searches in the space `{plan.space}`',
    '',
    f'Which search finds better networks than chance on `{plan.protocol}`? '
    f'{len(plan.seeds)} seeds of each, {plan.final_seeds} '
    f'training{"s" if plan.final_seeds > 1 else ""} of what each chose, '
    f'{plan.num_steps} steps.',
    '',
    f'**{verdict(content)}**',
    '',
    *(
      ['![Every search, and the means](search.svg)', '']
      if content['rows']
      else []
    ),
    '| search | seeds | steps of its trials | parameters | test AUC | '
    'test HTER | above random genotypes | AUC less theirs | AUC by its size |',
    '|---|---|---|---|---|---|---|---|---|',
  ]
  for row, value in content['rows'].items():
    above = '–'
    if value['percentiles']:
      above = f'{np.mean(value["percentiles"]):.0%}'
    by_size = '–'
    if value['auc_of_size']:
      by_size = f'{np.mean(value["auc_of_size"]):.3f}'
    lines.append(
      f'| {row.replace("_", " ")} | {len(value["seeds"])} | '
      f'{value["steps"] or "–"} | {np.mean(value["parameters"]):,.0f} | '
      f'{np.mean(value["auc"]):.3f} | {np.mean(value["hter"]):.3f} | {above} | '
      f'{markdown.difference(value["less_random"], "–")} | {by_size} |'
    )
  if content['random']:
    lines.append(
      f'| a random genotype | {len(content["random"])} | – | '
      f'{np.mean(content["random_parameters"]):,.0f} | '
      f'{np.mean(content["random"]):.3f} | | 50% | | |'
    )
  lines.append('')
  if content['pairs']:
    lines += ['| paired by seed | AUC |', '|---|---|']
    lines += [
      f'| {k.replace("_", " ")} | {markdown.difference(v, "–")} |'
      for k, v in content['pairs'].items()
    ]
    lines.append('')
  if any(value['auc_of_size'] for value in content['rows'].values()):
    lines += [
      '"By its size": what a straight line through the random genotypes, from '
      'parameters to AUC, says of networks as large as these. They have '
      f'{min(content["random_parameters"]):,.0f} to '
      f'{max(content["random_parameters"]):,.0f} parameters; beyond that the '
      'line is a guess.',
      '',
    ]
  lines += ['Intervals are of 95 %. All figures are in search.json.', '']
  return '\n'.join(lines)


def chart(content: Mapping[str, Any]) -> str:
  """Every search of every row, and the random genotypes, as SVG text."""
  rows = {row: value['auc'] for row, value in content['rows'].items()}
  if content['random']:
    rows['a random genotype'] = content['random']
  with charts.svg_figure(6.5, 0.8 + 0.25 * len(rows)) as (figure, file):
    axes = figure.subplots()
    for place, values in enumerate(rows.values()):
      axes.plot(values, [place] * len(values), 'o', ms=3, color=charts.MUTED)
      axes.plot(np.mean(values), place, '|', ms=12, mew=2)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    axes.set_xlabel('test AUC')
    axes.set_title(f'{content["space"]} on {content["protocol"]}')
  return file.getvalue()


def report(
  plan: Plan,
  workdir: pathlib.Path,
  finals: Mapping[tuple[str, int], Sequence[dict]],
  random: Random,
) -> pathlib.Path:
  """Writes the report; returns the path of its page. See `figures`."""
  folder = workdir / 'report'
  content = figures(plan, finals, random)
  files.write_json(folder / 'search.json', content)
  if content['rows']:
    files.write_whole(folder / 'search.svg', chart(content))
  path = folder / 'search.md'
  files.write_whole(path, page(plan, content))
  return path
