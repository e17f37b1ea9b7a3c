"""The question: what could a search in this space gain at most?

Random genotypes of the space are drawn once and trained by themselves, each
from several seeds of its own; `variance` splits what comes out. No search is
run. A run is named gG/seedN.
"""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from nasfas_jax import files
from nasfas_jax.models import genotypes, sampling
from nasfas_jax.report import charts
from nasfas_jax.searchers import zero_cost
from nasfas_jax.study import variance
from nasfas_jax.study.jobs import Job, keep_genotype
from nasfas_jax.study.plan import to_flags

# Figure of a run -> its name on the page, and 1 if higher is better, else -1.
FIGURES = {
  'auc': ('test AUC', 1),
  'hter': ('test HTER', -1),
  'dev_auc': ('dev AUC', 1),
}
# The figure that the verdict is of.
MAIN = 'auc'
# The seed of an untrained network's weights.
_SCORE_SEED = 0
_DRAWS = 100


@dataclasses.dataclass(frozen=True)
class Plan:
  """What is drawn and trained.

  Attributes:
    space: name of the search space.
    num_cells: cells per level.
    num_nodes: intermediate nodes of a cell.
    theta: of the genotypes; a space with a fixed theta overrides it.
    num_genotypes: number of random genotypes, at least 2.
    num_seeds: trainings of each, at least 2.
    protocol: of the trainings.
    fields: of every training that are not the default, path -> value.
    config: every field of the trainings, as a report says it.
    earlier: number of a genotype -> figure -> those of its seeds, from the
      report of another workdir.
  """

  space: str
  num_cells: int
  num_nodes: int
  theta: float
  num_genotypes: int
  num_seeds: int
  protocol: str
  fields: Mapping[str, Any]
  config: Mapping[str, Any]
  earlier: Mapping[int, Mapping[str, Sequence[float]]]

  def seeds(self, number: int) -> range:
    """The seeds of a genotype's trainings; no two genotypes share one."""
    return range(number * self.num_seeds, (number + 1) * self.num_seeds)


def genotype_path(number: int) -> str:
  """Where a genotype lies below the study's workdir."""
  return f'genotypes/g{number}.json'


def run_name(number: int, seed: int) -> str:
  """The name of a training."""
  return f'g{number}/seed{seed}'


def draw(plan: Plan) -> list[genotypes.Genotype]:
  """The genotypes: the same for the same plan, and no two alike.

  Raises:
    ValueError: if the space has too few.
  """
  found = {}
  for number in range(plan.num_genotypes):
    for turn in range(_DRAWS):
      genotype = sampling.random_genotype(
        np.random.default_rng((number, turn)),
        space=plan.space,
        num_cells=plan.num_cells,
        num_nodes=plan.num_nodes,
        theta=plan.theta,
        provenance={'question': 'ceiling', 'number': number},
      )
      if genotype not in found:
        found[genotype] = None
        break
    else:
      raise ValueError(
        f'config.study.ceiling.genotypes is {plan.num_genotypes}, but '
        f'{_DRAWS} draws in a row from the space {plan.space!r} found no '
        f'genotype beside the first {number}; allowed: fewer.'
      )
  return list(found)


def write_genotypes(plan: Plan, workdir: pathlib.Path) -> None:
  """Writes the genotypes that are not there yet.

  Raises:
    ValueError: if the workdir holds others.
  """
  for number, genotype in enumerate(draw(plan)):
    keep_genotype(workdir / genotype_path(number), genotype)


def jobs_of(plan: Plan) -> list[Job]:
  """All trainings, in the order in which they are begun.

  The first seed of every genotype comes first, so that what is finished at any
  time is spread over the genotypes. Those of an earlier report are left out.
  """
  return [
    Job(
      run_name(number, plan.seeds(number)[turn]),
      (
        '--config=train',
        *to_flags(
          plan.fields,
          {'protocol': plan.protocol, 'seed': plan.seeds(number)[turn]},
        ),
      ),
      inputs=(('config.genotype', genotype_path(number)),),
    )
    for turn in range(plan.num_seeds)
    for number in range(plan.num_genotypes)
    if number not in plan.earlier
  ]


def tables(
  plan: Plan, workdir: pathlib.Path, finished: Sequence[str]
) -> tuple[list[int], dict[str, np.ndarray]]:
  """The figures of the genotypes whose trainings are all finished.

  Returns:
    (their numbers, [genotypes, seeds] for each of `FIGURES` and 'parameters').
  """
  numbers = [
    number
    for number in range(plan.num_genotypes)
    if number in plan.earlier
    or all(run_name(number, seed) in finished for seed in plan.seeds(number))
  ]
  rows = {name: [] for name in (*FIGURES, 'parameters')}
  for number in numbers:
    if number in plan.earlier:
      for name, values in rows.items():
        values.append(plan.earlier[number][name])
      continue
    results = [
      files.read_json(workdir / run_name(number, seed) / 'results.json')
      for seed in plan.seeds(number)
    ]
    for name in ('auc', 'hter'):
      rows[name].append([r['splits']['test'][name] for r in results])
    rows['dev_auc'].append([r['splits']['dev']['auc'] for r in results])
    rows['parameters'].append([r['model']['num_parameters'] for r in results])
  shape = (len(numbers), plan.num_seeds)
  return numbers, {
    name: np.array(values, np.float64).reshape(shape)
    for name, values in rows.items()
  }


def cells(plan: Plan) -> dict[str, Any]:
  """What a report says of the cells of the genotypes.

  Args:
    plan: a plan, also that of `contest`, which has the same fields.
  """
  names = ('num_cells', 'num_nodes', 'theta')
  return {name: getattr(plan, name) for name in names}


def settings(plan: Plan) -> dict[str, Any]:
  """What a report says of its trainings, whatever their number."""
  return {
    **{'protocol': plan.protocol, 'space': plan.space},
    **{'cells': cells(plan), 'seeds': plan.num_seeds},
    'config': dict(plan.config),
  }


def figures_of(content: Mapping) -> dict[int, dict[str, list[float]]]:
  """`Plan.earlier` of a report's content."""
  return {
    int(name.removeprefix('g')): {
      figure: table[name] for figure, table in content['tables'].items()
    }
    for name in content['tables'][MAIN]
  }


# (name of a score, genotype, seed) -> the score.
Score = Callable[[str, genotypes.Genotype, int], float]


@dataclasses.dataclass(frozen=True)
class Untrained:
  """Scores of networks that were never trained.

  Attributes:
    score: see `Score`.
    clips: that it looks at, as a report says it.
  """

  score: Score
  clips: int


def score_all(plan: Plan, score: Score) -> dict[str, np.ndarray]:
  """The scores that are not numbers of parameters, [genotypes] for each."""
  drawn = draw(plan)
  return {
    name: np.array([score(name, one, _SCORE_SEED) for one in drawn])
    for name in zero_cost.SCORES
    if name not in zero_cost.SIZES
  }


def untrained(
  scores: Mapping[str, np.ndarray],
  numbers: Sequence[int],
  means: np.ndarray,
  effects: np.ndarray,
) -> dict[str, dict]:
  """What a choice by a score without training gains.

  Args:
    scores: of the genotypes, by name; the highest is chosen.
    numbers: of the genotypes.
    means: of `MAIN`, of the genotypes.
    effects: the predicted gain of each.

  Returns:
    For each score 'spearman', its rank correlation with `means` with 'low' and
    'high' of the 95 % interval (None where a score does not differ); 'chosen',
    the name of the genotype, the 'gain' predicted for it, and the 'share' of
    the other genotypes whose mean is below its own.
  """
  found = {}
  for name, values in scores.items():
    # The first of equal ones, as `trials.by_score` takes it.
    chosen = int(np.argmax(values))
    below = np.sum(means < means[chosen]) / (len(means) - 1)
    found[name] = {
      **_rank_correlation(values, means),
      'chosen': f'g{numbers[chosen]}',
      'gain': float(effects[chosen]),
      'share': float(below),
    }
  return found


def _rank_correlation(values, means) -> dict[str, float | None]:
  """Spearman's, with the interval of Bonett and Wright (2000)."""
  number = len(values)
  if number < 5 or min(len(set(values)), len(set(means))) < 2:
    return {'spearman': None, 'low': None, 'high': None}
  rank = float(stats.spearmanr(values, means).statistic)
  middle = math.atanh(max(-1 + 1e-9, min(1 - 1e-9, rank)))
  half = stats.norm.ppf(0.975) * math.sqrt((1 + rank**2 / 2) / (number - 3))
  return {
    'spearman': rank,
    'low': math.tanh(middle - half),
    'high': math.tanh(middle + half),
  }


def figures(
  plan: Plan,
  numbers: Sequence[int],
  found: Mapping,
  scores: Mapping[str, np.ndarray] | None = None,
  clips: int = 0,
) -> dict:
  """The content of ceiling.json.

  Args:
    plan: what was trained.
    numbers: of the genotypes in the tables.
    found: what `tables` returned.
    scores: of untrained networks, [genotypes in the tables] each; the numbers
      of parameters are in the tables.
    clips: that these scores looked at.
  """
  content = {
    **settings(plan),
    'genotypes': plan.num_genotypes,
    'tables': {
      name: dict(
        zip((f'g{n}' for n in numbers), found[name].tolist(), strict=True)
      )
      for name in found
    },
    'splits': {},
    'seen_choice': None,
    'untrained': {},
    'scores': {'clips': clips, 'seed': _SCORE_SEED} if scores else {},
    'verdict': 'Not known: too few trainings are finished.',
  }
  if len(numbers) < 2:
    return content
  for name, (_, sign) in FIGURES.items():
    if variance.has_luck(found[name]):
      content['splits'][name] = _split(sign * found[name], plan.num_genotypes)
  if MAIN not in content['splits']:
    content['verdict'] = 'Not known: no two seeds of a genotype differ.'
    return content
  if len(numbers) < plan.num_genotypes:
    content['verdict'] = (
      f'Not known yet: {len(numbers)} of {plan.num_genotypes} genotypes have '
      'all of their trainings.'
    )
  else:
    content['verdict'] = verdict(content['splits'][MAIN], plan.num_genotypes)
  if 'dev_auc' in content['splits']:
    deviation = variance.shared_deviation(found['dev_auc'], found[MAIN])
    largest = variance.expected_maximum(plan.num_genotypes)
    content['seen_choice'] = deviation * largest
  sizes = found['parameters'][:, 0]
  means = found[MAIN].mean(axis=1)
  content['untrained'] = untrained(
    {'parameters': sizes, 'fewest_parameters': -sizes, **(scores or {})},
    numbers,
    means,
    np.array(content['splits'][MAIN]['effects']),
  )
  return content


def _split(table: np.ndarray, number: int) -> dict:
  """The split of a table and its ceiling, as JSON; higher is better."""
  found = variance.split(table)
  top = variance.ceiling(found.spread, number)
  return {
    'mean': found.mean,
    'genotype': dataclasses.asdict(found.spread.genotype),
    'luck': dataclasses.asdict(found.spread.luck),
    'share': dataclasses.asdict(found.spread.share),
    'reliability': {
      str(seeds): variance.reliability(found.spread.share.value, seeds)
      for seeds in top.by_means
    },
    'perfect': dataclasses.asdict(top.perfect),
    'by_means': {str(seeds): gain for seeds, gain in top.by_means.items()},
    'to_luck': dataclasses.asdict(top.to_luck),
    'effects': found.effects.tolist(),
  }


def verdict(split: Mapping, number: int) -> str:
  """What the split says of a search, in a sentence or two.

  Args:
    split: that of `MAIN` in the content of ceiling.json.
    number: of genotypes to choose from.
  """
  gain, ratio = split['perfect'], split['to_luck']
  said = (
    f'perfect choice among {number} genotypes gains {gain["value"]:.3f} '
    f'[{gain["low"]:.3f}, {gain["high"]:.3f}] in AUC over a random one, '
    f'{ratio["value"]:.2f} [{ratio["low"]:.2f}, {ratio["high"]:.2f}] times the '
    'luck of one seed.'
  )
  if ratio['value'] < 1:
    text = f'Do not search here: {said}'
    if ratio['high'] >= 1:
      text += ' The interval does not rule out more; a larger table would tell.'
    return text
  text = f'A search can pay here: {said}'
  if ratio['low'] < 1:
    text += ' The interval does not rule out less; a larger table would tell.'
  return text


def page(plan: Plan, content: Mapping, num_finished: int) -> str:
  """The page, as Markdown."""
  number = len(content['tables'][MAIN])
  lines = [
    f'# Ceiling of the space `{plan.space}`',
    '',
    f'What could a search gain at most on `{plan.protocol}`? '
    f'{plan.num_genotypes} random genotypes, {plan.num_seeds} trainings of '
    f'each, no two from one seed. {num_finished} of '
    f'{plan.num_genotypes * plan.num_seeds} trainings are finished; {number} '
    'genotypes have all of theirs.',
    '',
    f'**{content["verdict"]}**',
    '',
  ]
  if not content['splits']:
    return '\n'.join(lines)
  lines += ['![Genotypes by their mean, with their seeds](ceiling.svg)', '']
  columns = content['splits']
  lines += [
    '| | ' + ' | '.join(FIGURES[name][0] for name in columns) + ' |',
    '|---' * (1 + len(columns)) + '|',
  ]

  def row(label, text_of):
    cells = ' | '.join(text_of(split) for split in columns.values())
    lines.append(f'| {label} | {cells} |')

  row('mean', lambda s: f'{abs(s["mean"]):.3f}')
  row('deviation of genotypes', lambda s: _text(s['genotype']))
  row('luck of a seed (deviation)', lambda s: _text(s['luck']))
  row("genotype's share of the variance", lambda s: _text(s['share']))
  row(
    f'gain by perfect choice among {plan.num_genotypes}',
    lambda s: _text(s['perfect']),
  )
  row('the same, divided by the luck', lambda s: _text(s['to_luck'], '.2f'))
  for seeds in columns[MAIN]['by_means'] if MAIN in columns else ():
    row(
      f'gain by choice by {_of_seeds(seeds)}',
      lambda s, seeds=seeds: f'{s["by_means"][seeds]:.3f}',
    )
  row(
    'predicted gain of the best one here',
    lambda s: f'{max(s["effects"]):.3f}',
  )
  lines.append('')
  if content['seen_choice'] is not None:
    lines += [
      'Perfect choice by dev AUC, all that a search can see, gains '
      f'{content["seen_choice"]:+.3f} in test AUC.',
      '',
    ]
  if content['untrained']:
    lines += [
      '| chosen without training by | rank correlation with mean test AUC | '
      'predicted gain of the choice | above other genotypes |',
      '|---|---|---|---|',
    ]
    for name, of in content['untrained'].items():
      rank = '–'
      if of['spearman'] is not None:
        rank = f'{of["spearman"]:+.2f} [{of["low"]:+.2f}, {of["high"]:+.2f}]'
      lines.append(
        f'| {name.replace("_", " ")} | {rank} | {of["gain"]:+.3f} | '
        f'{of["share"]:.0%} |'
      )
    lines.append('')
  told = variance.expected_to_luck(
    0.0, plan.num_genotypes, num_genotypes=number, num_seeds=plan.num_seeds
  )
  lines += [
    f'If all genotypes were alike, a table of {number} with {plan.num_seeds} '
    'seeds each would give for that gain, divided by the luck, the interval '
    f'[0, {told.high:.2f}].',
    '',
    'Intervals are of 95 %. Gains are over a genotype at random; of HTER, the '
    'errors that go away. All figures are in ceiling.json.',
    '',
  ]
  return '\n'.join(lines)


def _of_seeds(number: str) -> str:
  return 'one seed' if number == '1' else f'means of {number} seeds'


def _text(value: Mapping, form: str = '.3f') -> str:
  low, high = (format(value[name], form) for name in ('low', 'high'))
  return f'{format(value["value"], form)} [{low}, {high}]'


def chart(table: np.ndarray, title: str) -> str:
  """Every genotype by its mean, with its seeds, as SVG text.

  Args:
    table: [genotypes, seeds] of `MAIN`.
    title: of the chart.
  """
  order = table.mean(axis=1).argsort()
  with charts.svg_figure(6.5, 2.8) as (figure, file):
    axes = figure.subplots()
    places = np.arange(len(order))
    for column in range(table.shape[1]):
      axes.plot(
        *(places, table[order, column], 'o'),
        ms=3,
        color=charts.MUTED,
        label='one seed' if not column else None,
      )
    axes.plot(places, table[order].mean(axis=1), '-', label='mean of its seeds')
    axes.set_xlabel('genotypes, by their mean')
    axes.set_ylabel(FIGURES[MAIN][0])
    axes.set_title(title)
    axes.legend(loc='upper left')
  return file.getvalue()


def report(
  plan: Plan,
  workdir: pathlib.Path,
  finished: Sequence[str],
  scored: Untrained | None = None,
) -> pathlib.Path:
  """Writes the report on the finished trainings; returns the page's path.

  Args:
    plan: what is trained.
    workdir: of the study.
    finished: names of the finished trainings.
    scored: of untrained networks; asked once all trainings are finished. The
      report without it is written before, and stays if it fails.
  """
  numbers, found = tables(plan, workdir, finished)
  known = sum(number in plan.earlier for number in range(plan.num_genotypes))
  number = len(finished) + known * plan.num_seeds

  def write(content):
    return _write(plan, workdir / 'report', content, found, number)

  path = write(figures(plan, numbers, found))
  if scored and len(numbers) == plan.num_genotypes:
    scores = score_all(plan, scored.score)
    write(figures(plan, numbers, found, scores, scored.clips))
  return path


def _write(plan, folder, content, found, number) -> pathlib.Path:
  """Writes a report; returns the path of its page."""
  files.write_json(folder / 'ceiling.json', content)
  if content['splits']:
    svg = chart(found[MAIN], f'{plan.space} on {plan.protocol}')
    files.write_whole(folder / 'ceiling.svg', svg)
  path = folder / 'ceiling.md'
  files.write_whole(path, page(plan, content, number))
  return path
