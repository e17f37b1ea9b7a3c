"""The report of a study: Markdown with charts, and the figures as JSON."""

import pathlib
import statistics as python_statistics
from collections.abc import Mapping, Sequence

from scipy import stats

from nasfas_jax import files, run_log
from nasfas_jax.study import charts, markdown, statistics
from nasfas_jax.study.plan import (
  RANDOM,
  Plan,
  carrier_row,
  remedy_row,
  run_name,
  seed_of,
  short,
)

# The input that the others are compared with.
STATIC = 'static'


class Runs:
  """The finished runs of a study, by short protocol, row and seed."""

  def __init__(self, workdir: pathlib.Path, finished: Sequence[str]):
    self._workdir = workdir
    self._results = {
      name: files.read_json(workdir / name / 'results.json')
      for name in finished
    }
    self._scores = {}

  def seeds(self, protocol: str, row: str) -> list[int]:
    """The seeds of the finished runs of a row, ascending."""
    start = f'{protocol}/{row}/'
    return sorted(
      seed_of(name) for name in self._results if name.startswith(start)
    )

  def value(self, protocol: str, row: str, seed: int, name: str) -> float:
    """A figure of the test set, or AUC/TYPE, that of one attack type."""
    results = self._results[run_name(protocol, row, seed)]
    if name.startswith('auc/'):
      return results['per_type'][name.removeprefix('auc/')]['auc']
    if name == 'dev_auc':
      return results['splits']['dev']['auc']
    if name == 'parameters':
      return results['model']['num_parameters']
    return results['splits']['test'][name]

  def values(self, protocol: str, row: str, name: str) -> list[float]:
    """A figure of every finished seed of a row."""
    return [
      self.value(protocol, row, seed, name)
      for seed in self.seeds(protocol, row)
    ]

  def types(self, protocol: str, row: str) -> list[str]:
    """The attack types of a row's test set."""
    seed = self.seeds(protocol, row)[0]
    return sorted(self._results[run_name(protocol, row, seed)]['per_type'])

  def difference(
    self, protocol: str, rows: tuple[str, str], num_samples: int, types=()
  ) -> dict[str, object] | None:
    """The second row's AUC less the first's, paired by seed; None: no pair."""
    shared = sorted(
      set(self.seeds(protocol, rows[0])) & set(self.seeds(protocol, rows[1]))
    )
    if not shared:
      return None
    runs = [
      [self._read(protocol, row, seed) for seed in shared] for row in rows
    ]
    if types:
      runs = [[statistics.of_types(run, types) for run in row] for row in runs]
    mean, low, high = statistics.paired_difference(
      *runs, num_samples=num_samples
    )
    return {'seeds': len(shared), 'mean': mean, 'low': low, 'high': high}

  def _read(self, protocol, row, seed) -> statistics.Scores:
    path = self._workdir / run_name(protocol, row, seed) / 'scores.csv'
    if path not in self._scores:
      self._scores[path] = statistics.read_scores(path)
    return self._scores[path]

  def last_metrics(self, protocol: str, row: str, name: str) -> list[float]:
    """The last value of a metric of the search, of every seed."""
    found = []
    for seed in self.seeds(protocol, row):
      path = self._workdir / run_name(protocol, row, seed) / 'metrics.jsonl'
      entries = [e for e in run_log.read_metrics(path) if name in e]
      found.append(entries[-1][name])
    return found


def write(
  workdir: pathlib.Path,
  plan: Plan,
  finished: Sequence[str],
  supernets: Mapping[str, dict],
  *,
  num_samples: int,
) -> pathlib.Path:
  """Writes the report; returns the path of its Markdown page.

  Args:
    workdir: of the study.
    plan: what it compares.
    finished: names of the finished runs.
    supernets: what `experiment.score_supernets` returned.
    num_samples: of the bootstrap over subjects.
  """
  runs = Runs(workdir, finished)
  folder = workdir / 'report'
  protocols = [short(name) for name in plan.protocols]
  figures = {
    'tables': {p: table(runs, p, plan, num_samples) for p in protocols},
    'random': against_random(runs, protocols[0], plan),
    'supernets': rank_correlations(runs, protocols[0], supernets),
    'fusions': {
      protocol: fusions(runs, protocol, plan, num_samples)
      for protocol in map(short, plan.fusion_protocols)
    },
    'alarms': alarms(runs, protocols, plan),
  }
  files.write_json(folder / 'study.json', figures)
  for name, svg in charts.draw(runs, protocols[0], figures).items():
    files.write_whole(folder / name, svg)
  page = folder / 'study.md'
  files.write_whole(page, markdown.page(figures))
  return page


def spread(values: Sequence[float]) -> dict[str, object]:
  """Mean, standard deviation (None for one value), and the values."""
  return {
    'mean': python_statistics.mean(values),
    'deviation': python_statistics.stdev(values) if len(values) > 1 else None,
    'values': list(values),
  }


def table(
  runs: Runs, protocol: str, plan: Plan, num_samples: int
) -> dict[str, dict]:
  """A protocol's rows: figures over the seeds, and differences to 'plain'."""
  # Changes of the domain-aware search.
  remedies = [remedy_row(name) for name in plan.remedies]
  rows = [
    *plan.searches,
    *plan.evolutions,
    carrier_row(plan.fusion),
    RANDOM,
    *remedies,
  ]
  found = {}
  for row in rows:
    if not runs.seeds(protocol, row):
      continue
    base = 'domain' if row in remedies else 'plain'
    found[row] = {
      name: spread(runs.values(protocol, row, name))
      for name in ('hter', 'auc', 'acer', 'parameters')
    }
    # The random genotypes share their seeds with the searches by chance.
    if row not in (base, RANDOM):
      gap = runs.difference(protocol, (base, row), num_samples)
      if gap is not None:
        found[row].update(difference=gap, to=base)
  return found


def against_random(runs: Runs, protocol: str, plan: Plan) -> dict[str, object]:
  """Where the searched networks stand among the random ones, by test AUC."""
  among = runs.values(protocol, RANDOM, 'auc')
  if not among:
    return {}
  return {
    'number': len(among),
    'auc': spread(among),
    'percentiles': {
      row: [
        statistics.percentile(value, among)
        for value in runs.values(protocol, row, 'auc')
      ]
      for row in (*plan.searches, *plan.evolutions)
      if runs.seeds(protocol, row)
    },
  }


def rank_correlations(
  runs: Runs, protocol: str, supernets: Mapping[str, dict]
) -> dict[str, dict]:
  """Rank correlation of supernet and stand-alone scores, and the gap."""
  found = {}
  for name, scores in supernets.items():
    seeds = [seed_of(run) for run in scores['random']]
    if len(seeds) < 3:
      continue
    mine = list(scores['random'].values())
    row = name.removeprefix(f'{protocol}/').partition('/')[0]
    found[name] = {
      'number': len(seeds),
      'mixture': scores['mixture'],
      'derived': scores['derived'],
      'random': spread(mine),
      'trained': runs.value(protocol, row, seed_of(name), 'dev_auc'),
    }
    for against in ('dev_auc', 'auc'):
      alone = [runs.value(protocol, RANDOM, s, against) for s in seeds]
      found[name][f'spearman_{against}'] = _correlation(
        stats.spearmanr, mine, alone
      )
      found[name][f'kendall_{against}'] = _correlation(
        stats.kendalltau, mine, alone
      )
  return found


def _correlation(kind, first, second) -> float | None:
  """A rank correlation; None where a side is constant and has no ranks."""
  if min(len(set(first)), len(set(second))) < 2:
    return None
  return kind(first, second).statistic


def fusions(
  runs: Runs, protocol: str, plan: Plan, num_samples: int
) -> dict[str, dict]:
  """AUC of each input on CDCN++, whole and by attack type, against static."""
  found = {}
  for fusion in plan.fusions:
    row = carrier_row(fusion)
    if not runs.seeds(protocol, row):
      continue
    types = runs.types(protocol, row)
    found[fusion] = {
      'auc': spread(runs.values(protocol, row, 'auc')),
      **{
        f'auc/{kind}': spread(runs.values(protocol, row, f'auc/{kind}'))
        for kind in types
      },
    }
    if fusion != STATIC and runs.seeds(protocol, carrier_row(STATIC)):
      rows = (carrier_row(STATIC), row)
      found[fusion]['difference'] = {
        'all': runs.difference(protocol, rows, num_samples),
        **{
          kind: runs.difference(protocol, rows, num_samples, [kind])
          for kind in types
        },
      }
  return found


def alarms(runs: Runs, protocols: Sequence[str], plan: Plan) -> dict[str, dict]:
  """What tells a collapsing search: entropy of alpha and skip-connect share."""
  return {
    f'{protocol}/{row}': {
      name: runs.last_metrics(protocol, row, name)
      for name in ('alpha_entropy', 'skip_share', 'skip_edge_share')
    }
    for protocol in protocols
    for row in plan.searches
    if runs.seeds(protocol, row)
  }
