"""The result table of the README: what the default search is worth.

python -m benchmarks.default_table --workdir=runs/table

For each seed: the searched network, the same genotype with theta 0 (vanilla
convolutions) and CDCN++ at the same width, all trained alike on the default
protocol, the unseen rooms of synthetic_fas, and logistic regression on colour
and contrast statistics, which has no seed. Needs the [test] extra. Runs are
resumable: what is finished is not run again. Prints a Markdown table, and what
stands behind it for each seed, and writes both as JSON into the workdir.
"""

import pathlib
import statistics

import numpy as np
from absl import app, flags

from nasfas_configs import search as search_config
from nasfas_datasets.synthetic_fas import difficulty
from nasfas_datasets.synthetic_fas.v2 import plan
from nasfas_jax import files, score_table
from nasfas_jax.data import index
from nasfas_jax.study import jobs, markdown

_WORKDIR = flags.DEFINE_string('workdir', 'runs/table', 'Folder of the runs.')
_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Seeds.')
_DATA_DIR = flags.DEFINE_string('data_dir', '', 'Folder of datasets.')
_NUM_WORKERS = flags.DEFINE_integer(
  'num_workers',
  1,
  'Runs at a time, which divide the CPUs. A run on fewer CPUs rounds '
  'otherwise, and trains another network.',
)

TRAIN = '--config=train'


def jobs_of(seed: str, protocol: str) -> list[jobs.Job]:
  """The runs of a seed, as `ROWS` orders them; the first makes the genotype."""
  genotype = ('config.genotype', f'seed{seed}/searched/genotype.json')
  rows = {
    'searched': (['--config=search'], ()),
    'theta0': ([TRAIN, '--config.network.theta=0.0'], (genotype,)),
    'cdcnpp': ([TRAIN, '--config.model=cdcnpp'], ()),
  }
  shared = (
    f'--config.protocol={protocol}',
    f'--config.seed={seed}',
    f'--config.data.data_dir={_DATA_DIR.value}',
  )
  return [
    jobs.Job(f'seed{seed}/{name}', (*arguments, *shared), inputs)
    for name, (arguments, inputs) in rows.items()
  ]


ROWS = {
  'searched': 'searched network',
  'theta0': 'the same genotype, theta 0',
  'cdcnpp': 'CDCN++ at the same width',
}


def colour_baseline() -> tuple[float, float]:
  """Test AUC and HTER of logistic regression on colour statistics."""
  folder = index.resolve_data_dir(_DATA_DIR.value)
  data = difficulty.load(folder, version='2.0.0')
  seen = data['lists'] == plan.SEEN
  return difficulty.judge(data, 'colour and contrast', seen, ~seen)[:2]


def live_medians(folder: pathlib.Path) -> dict[str, float]:
  """Median score of the live clips of dev and test, from scores.csv."""
  scored = score_table.read(folder / 'scores.csv')
  return {
    split: float(np.median(columns['score'][columns['label'] == 1]))
    for split, columns in scored.items()
  }


# Figure of a room in results.json -> its title.
OF_A_ROOM = {
  **{'hter': 'HTER', 'auc': 'AUC'},
  'bpcer': 'live rejected',
  'apcer_pooled': 'attacks passed',
}


def details(results: dict, folder: pathlib.Path) -> dict[str, float]:
  """What stands behind a run's HTER."""
  medians = live_medians(folder)
  return {
    'dev EER': results['splits']['dev']['eer'],
    'test EER': results['splits']['test']['eer'],
    'live median, dev': medians['dev'],
    'live median, test': medians['test'],
    **{
      f'AUC, {kind}': figures['auc']
      for kind, figures in results['per_type'].items()
    },
    **{
      f'{title}, {room}': figures[name]
      for room, figures in results['per_domain'].items()
      for name, title in OF_A_ROOM.items()
    },
  }


def spread(values: list[float]) -> str:
  """Mean and standard deviation over the seeds, and each value."""
  each = ', '.join(f'{value:.3f}' for value in values)
  if len(values) == 1:
    return each
  mean, deviation = statistics.mean(values), statistics.stdev(values)
  return f'{mean:.3f} ± {deviation:.3f} ({each})'


def main(argv) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unknown arguments: {argv[1:]}')
  protocol = search_config.get_config().protocol
  folder = pathlib.Path(_WORKDIR.value)
  planned = [jobs_of(seed, protocol) for seed in _SEEDS.value]
  results = {}
  # First the searches, whose genotypes others train.
  searches = [first for first, *_ in planned]
  others = [job for _, *rest in planned for job in rest]
  for part in (searches, others):
    results |= jobs.run(part, folder, _NUM_WORKERS.value)
  found, behind = {}, {}
  for name in ROWS:
    names = [f'seed{seed}/{name}' for seed in _SEEDS.value]
    found[name] = [results[one] for one in names]
    behind[name] = [details(results[one], folder / one) for one in names]
  table = {
    title: {
      'test_hter': [r['splits']['test']['hter'] for r in found[name]],
      'test_auc': [r['splits']['test']['auc'] for r in found[name]],
      'parameters': [r['model']['num_parameters'] for r in found[name]],
    }
    for name, title in ROWS.items()
  }
  auc, hter = colour_baseline()
  table['logistic regression on colour statistics'] = {
    'test_hter': [float(hter)],
    'test_auc': [float(auc)],
  }
  for name, title in ROWS.items():
    for figure in behind[name][0]:
      table[title][figure] = [values[figure] for values in behind[name]]
  files.write_json(folder / 'table.json', {'protocol': protocol, 'rows': table})
  print(f'{protocol}, seeds {", ".join(_SEEDS.value)}\n')
  print('| | test HTER | test AUC | parameters |')
  print('|---|---|---|---|')
  for title, row in table.items():
    sizes = row.get('parameters', [])
    if len(set(sizes)) == 1:
      sizes = sizes[:1]
    print(
      f'| {title} | {spread(row["test_hter"])} | {spread(row["test_auc"])} | '
      f'{", ".join(f"{size:,}" for size in sizes)} |'
    )
  for name, title in ROWS.items():
    print(f'\n{title}, each seed:')
    for figure in behind[name][0]:
      values = ', '.join(f'{v:.2f}' for v in table[title][figure])
      print(f'  {figure:22} {values}')
  if len(_SEEDS.value) < 2:
    return
  print("\nDifferences, paired by seed, with Student's 95 % interval:")
  for title in ROWS.values():
    row = table[title]
    gap = markdown.paired(np.subtract(row['test_hter'], row['dev EER']))
    print(f'  {title}: test HTER less dev EER {gap}')
  first, *rest = (table[title] for title in ROWS.values())
  for title, row in zip(list(ROWS.values())[1:], rest, strict=True):
    found = ', '.join(
      f'{name} {markdown.paired(np.subtract(row[key], first[key]))}'
      for name, key in (('HTER', 'test_hter'), ('AUC', 'test_auc'))
    )
    print(f'  {title} less {ROWS["searched"]}: {found}')


if __name__ == '__main__':
  app.run(main)
