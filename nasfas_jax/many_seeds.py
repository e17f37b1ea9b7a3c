"""A training from several seeds: the folders of its networks, and its results.

The workdir of such a training holds the checkpoints of all its networks
together, from which it resumes. Beside them each network gets a folder, seedN,
with the files of a run of its own; whatever reads a run reads that folder.
"""

import pathlib
from collections.abc import Mapping, Sequence

import ml_collections
import numpy as np

from nasfas_jax import (
  checkpoints,
  files,
  hosts,
  judgement,
  metrics,
  run_log,
  score_table,
)
from nasfas_jax.data import protocols
from nasfas_jax.states import TrainState

# The figures of a network in the results of the whole training.
_SHOWN = ('num_live', 'num_spoof', *metrics.OVER_SEEDS)


def folder(workdir: pathlib.Path, seed: int) -> pathlib.Path:
  """The folder of the network of one seed."""
  return workdir / f'seed{seed}'


def start_member(
  path: pathlib.Path,
  config: ml_collections.ConfigDict,
  selection: protocols.Selection,
  state: TrainState,
  entries: Sequence[Mapping],
  before: Mapping | None = None,
) -> None:
  """Writes the files of one network's training, as a run of its own has them.

  Args:
    path: of its folder.
    config: of that run.
    selection: its clips.
    state: its last state.
    entries: its lines of metrics.jsonl.
    before: see `run_log.start`.
  """
  run_log.start(path, config, selection, before)
  with run_log.MetricWriter(path, 'train', 0) as writer:
    for entry in entries:
      numbers = {k: v for k, v in entry.items() if k not in ('phase', 'step')}
      writer.write(entry['step'], numbers)
  step = int(state.step)
  with checkpoints.Checkpointer(checkpoints.folder(path, 'train')) as saver:
    if saver.latest_step != step:
      saver.save(step, state)


def entries_of(workdir: pathlib.Path, place: int) -> list[dict]:
  """The lines of metrics.jsonl that a network alone would have written.

  Args:
    workdir: of the training.
    place: of the network among the seeds.
  """
  return [
    {'phase': 'train', 'step': entry['step'], **entry['members'][place]}
    for entry in run_log.read_metrics(workdir / 'metrics.jsonl')
    if entry['phase'] == 'train'
  ]


def conclude(
  workdir: pathlib.Path,
  results: Mapping[int, Mapping],
  *,
  bootstrap_samples: int,
) -> dict[str, object]:
  """Writes results.json of the whole training.

  Args:
    workdir: of the training.
    results: seed -> content of its results.json; its scores.csv is there.
    bootstrap_samples: resamples of the subjects.

  Returns:
    The content: 'protocol', 'headline' and 'model' as of one network; 'seeds',
    by the name of a folder the 'seed', the 'threshold' and the figures of
    'splits'; 'over_seeds', see `metrics.over_seeds`, with its 'level' and the
    number of 'samples'.
  """

  def make():
    content = summarise(
      results,
      {
        seed: score_table.read(folder(workdir, seed) / 'scores.csv')
        for seed in results
      },
      bootstrap_samples=bootstrap_samples,
    )
    files.write_json(workdir / 'results.json', content)
    return content

  return hosts.first(make)


def summarise(
  results: Mapping[int, Mapping],
  scored: Mapping[int, Mapping[str, score_table.Columns]],
  *,
  bootstrap_samples: int,
) -> dict[str, object]:
  """The content of `conclude`, from results and scores by seed."""
  first = next(iter(results.values()))
  level = judgement.LEVEL
  found = {
    **{name: first[name] for name in ('protocol', 'headline', 'model')},
    'seeds': {
      folder(pathlib.Path(), seed).name: {
        'seed': seed,
        'threshold': dict(of['threshold']),
        'splits': {
          split: {name: summary.get(name) for name in _SHOWN}
          for split, summary in of['splits'].items()
        },
      }
      for seed, of in results.items()
    },
    'over_seeds': {'level': level, 'samples': bootstrap_samples},
  }
  tests = [score_table.labelled(of['test']) for of in scored.values()]
  columns = tests[0]
  if len(columns['label']):
    found['over_seeds'] |= metrics.over_seeds(
      np.stack([of['score'] for of in tests]),
      columns['label'],
      columns['attack_type'],
      columns['subject'],
      [of['threshold']['value'] for of in results.values()],
      # One resample has no variance.
      num_samples=max(2, bootstrap_samples),
      confidence=level,
    )
  return found


def say(results: Mapping) -> str:
  """The line that the end of a training from several seeds prints."""
  over = results['over_seeds']
  parts = [
    f'{name.upper().replace("_MAX", "")} {of["mean"]:.4f} ± '
    f'{of["deviation"]:.4f} ({_interval(of)})'
    for name in dict.fromkeys((*results['headline'], 'hter', 'auc', 'acer'))
    if (of := over.get(name))
  ]
  return (
    f'Test of {results["protocol"]} over {len(results["seeds"])} seeds (mean ± '
    f'standard deviation, {100 * over["level"]:g} % interval of the mean): '
    f'{", ".join(parts) or "no figures"}'
  )


def _interval(of: Mapping) -> str:
  if of['low'] is None:
    return '-'
  return f'{of["low"]:.4f} to {of["high"]:.4f}'
