"""The report of a study: Markdown with charts, and the figures as JSON."""

import pathlib
import statistics as python_statistics
from collections.abc import Mapping, Sequence

import ml_collections
from scipy import stats

from nasfas_jax import files, run_log
from nasfas_jax.study import charts, markdown, statistics


def short(protocol: str) -> str:
  """A protocol's name without the dataset, as in the names of runs."""
  return protocol.partition('/')[2]


class Study:
  """The finished runs of a study, by protocol, row and seed."""

  def __init__(self, workdir: pathlib.Path, finished: Sequence[str]):
    self._workdir = workdir
    self._results = {
      name: files.read_json(workdir / name / 'results.json')
      for name in finished
    }
    self._scores = {}

  def seeds(self, protocol: str, row: str) -> list[int]:
    """The seeds of the finished runs of a row, ascending."""
    start = f'{protocol}/{row}/seed'
    return sorted(
      int(name.removeprefix(start))
      for name in self._results
      if name.startswith(start)
    )

  def value(self, protocol: str, row: str, seed: int, name: str) -> float:
    """A figure of the test set, or AUC/TYPE, that of one attack type."""
    results = self._results[f'{protocol}/{row}/seed{seed}']
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
    return sorted(self._results[f'{protocol}/{row}/seed{seed}']['per_type'])

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
    path = self._workdir / protocol / row / f'seed{seed}' / 'scores.csv'
    if path not in self._scores:
      self._scores[path] = statistics.read_scores(path)
    return self._scores[path]

  def last_metrics(self, protocol: str, row: str, name: str) -> list[float]:
    """The last value of a metric of the search, of every seed."""
    found = []
    for seed in self.seeds(protocol, row):
      path = self._workdir / protocol / row / f'seed{seed}' / 'metrics.jsonl'
      entries = [e for e in run_log.read_metrics(path) if name in e]
      found.append(entries[-1][name])
    return found


def write(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  finished: Sequence[str],
  supernets: Mapping[str, dict],
) -> pathlib.Path:
  """Writes the report; returns the path of its Markdown page.

  Args:
    config: of the study.
    workdir: of the study.
    finished: names of the finished runs.
    supernets: what `study.score_supernets` returned.
  """
  settings = config.study
  runs = Study(workdir, finished)
  folder = workdir / 'report'
  folder.mkdir(parents=True, exist_ok=True)
  protocols = [short(name) for name in settings.protocols]
  figures = {
    'tables': {p: table(runs, p, settings, config) for p in protocols},
    'random': against_random(runs, protocols[0], settings),
    'supernets': rank_correlations(runs, protocols[0], supernets),
    'fusions': {
      protocol: fusions(runs, protocol, settings)
      for protocol in map(short, settings.fusion_protocols)
    },
    'alarms': alarms(runs, protocols, settings),
  }
  files.write_json(folder / 'study.json', figures)
  for name, svg in charts.draw(runs, protocols[0], figures).items():
    (folder / name).write_text(svg, encoding='utf-8')
  page = folder / 'study.md'
  page.write_text(markdown.page(figures), encoding='utf-8')
  return page


def spread(values: Sequence[float]) -> dict[str, object]:
  """Mean, standard deviation (None for one value), and the values."""
  return {
    'mean': python_statistics.mean(values),
    'deviation': python_statistics.stdev(values) if len(values) > 1 else None,
    'values': list(values),
  }


def table(runs: Study, protocol: str, settings, config) -> dict[str, dict]:
  """A protocol's rows: figures over the seeds, and differences to 'plain'."""
  # Changes of the domain-aware search.
  remedies = [f'domain_{name}' for name in settings.remedies]
  rows = [
    *settings.searches,
    *settings.evolutions,
    f'cdcnpp_{config.input.fusion}',
    'random',
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
    if row not in (base, 'random'):
      gap = runs.difference(protocol, (base, row), settings.bootstrap_samples)
      if gap is not None:
        found[row].update(difference=gap, to=base)
  return found


def against_random(runs: Study, protocol: str, settings) -> dict[str, object]:
  """Where the searched networks stand among the random ones, by test AUC."""
  among = runs.values(protocol, 'random', 'auc')
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
      for row in (*settings.searches, *settings.evolutions)
      if runs.seeds(protocol, row)
    },
  }


def rank_correlations(
  runs: Study, protocol: str, supernets: Mapping[str, dict]
) -> dict[str, dict]:
  """Rank correlation of supernet and stand-alone scores, and the gap."""
  found = {}
  for name, scores in supernets.items():
    seeds = [int(run.rpartition('/seed')[2]) for run in scores['random']]
    if len(seeds) < 3:
      continue
    mine = list(scores['random'].values())
    row, seed = name.removeprefix(f'{protocol}/').split('/seed')
    found[name] = {
      'number': len(seeds),
      'mixture': scores['mixture'],
      'derived': scores['derived'],
      'random': spread(mine),
      'trained': runs.value(protocol, row, int(seed), 'dev_auc'),
    }
    for against in ('dev_auc', 'auc'):
      alone = [runs.value(protocol, 'random', s, against) for s in seeds]
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


def fusions(runs: Study, protocol: str, settings) -> dict[str, dict]:
  """AUC of each input on CDCN++, whole and by attack type, against static."""
  found = {}
  for fusion in settings.fusions:
    row = f'cdcnpp_{fusion}'
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
    if fusion != 'static' and runs.seeds(protocol, 'cdcnpp_static'):
      rows = ('cdcnpp_static', row)
      samples = settings.bootstrap_samples
      found[fusion]['difference'] = {
        'all': runs.difference(protocol, rows, samples),
        **{
          kind: runs.difference(protocol, rows, samples, [kind])
          for kind in types
        },
      }
  return found


def alarms(runs: Study, protocols: Sequence[str], settings) -> dict[str, dict]:
  """What tells a collapsing search: entropy of alpha and skip-connect share."""
  return {
    f'{protocol}/{row}': {
      name: runs.last_metrics(protocol, row, name)
      for name in ('alpha_entropy', 'skip_share', 'skip_edge_share')
    }
    for protocol in protocols
    for row in settings.searches
    if runs.seeds(protocol, row)
  }
