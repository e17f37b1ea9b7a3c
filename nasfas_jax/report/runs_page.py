"""Several finished runs side by side: one self-contained HTML file."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from nasfas_jax import files, judgement, metrics, score_table
from nasfas_jax.report import cell_drawing, charts, page, style, tables

MAX_RUNS = 12
# Clips of each run that it judges worst.
_NUM_WORST = 10
_MAX_CARDS = 4


@dataclasses.dataclass(frozen=True)
class Run:
  """The files of a run that the page shows.

  Attributes:
    name: as the page calls it.
    results: content of results.json.
    test: columns of the labelled test clips.
    genotype: content of genotype.json; {} without one.
    samples: path of samples.npz, which may be missing.
  """

  name: str
  results: Mapping
  test: score_table.Columns
  genotype: Mapping
  samples: pathlib.Path


def read(folders: Sequence[str | os.PathLike[str]]) -> list[Run]:
  """Reads the runs in some folders.

  Raises:
    ValueError: if a folder stands twice, there are too many, or one holds no
      evaluated run.
  """
  paths = [pathlib.Path(folder) for folder in folders]
  if not 1 <= len(paths) <= MAX_RUNS:
    raise ValueError(f'{len(paths)} runs; allowed: 1 to {MAX_RUNS}.')
  resolved = [path.resolve() for path in paths]
  for place, path in enumerate(resolved):
    if path in resolved[:place]:
      raise ValueError(f'The run {str(paths[place])!r} stands twice.')
  names = [path.name for path in resolved]
  if len(set(names)) < len(names):
    names = [str(path) for path in paths]
  return [_read(*found) for found in zip(names, paths, strict=True)]


def _read(name: str, path: pathlib.Path) -> Run:
  if (path / 'results.json').is_file():
    several = files.read_json(path / 'results.json')
    if isinstance(several, dict) and 'over_seeds' in several:
      raise ValueError(
        f'{str(path)!r} holds a run for each seed; give theirs: '
        f'{", ".join(str(path / seed) for seed in several["seeds"])}.'
      )
  for file in ('results.json', 'scores.csv'):
    if not (path / file).is_file():
      raise ValueError(
        f'{str(path)!r} holds no evaluated run: there is no {file}.'
      )
  contents = {}
  for file in ('results.json', 'genotype.json'):
    there = (path / file).exists()
    contents[file] = files.read_json(path / file) if there else {}
  results = contents['results.json']
  threshold = results.get('threshold') if isinstance(results, dict) else None
  value = threshold.get('value') if isinstance(threshold, dict) else None
  if not isinstance(value, int | float) or 'splits' not in results:
    raise ValueError(
      f'{str(path / "results.json")!r} is not that of an evaluated run.'
    )
  scored = score_table.read(path / 'scores.csv')
  if 'test' not in scored:
    raise ValueError(f'{str(path / "scores.csv")!r} has no test clips.')
  return Run(
    name=name,
    results=results,
    test=score_table.labelled(scored['test']),
    genotype=contents['genotype.json'],
    samples=path / 'samples.npz',
  )


def write(
  folders: Sequence[str | os.PathLike[str]], path: pathlib.Path
) -> pathlib.Path:
  """Writes the page of some runs.

  Args:
    folders: workdirs of finished runs or of evaluations.
    path: of the page.

  Returns:
    The path.

  Raises:
    ValueError: as `read`.
  """
  runs = read(folders)
  sections = {
    'Results': _results(runs),
    'DET': _det(runs),
    'APCER by attack type': _by_type(runs),
    'Genotypes': _genotypes(runs),
    'Worst mistakes': _mistakes(runs),
  }
  title = f'Comparison of {len(runs)} runs'
  sections = {heading: body for heading, body in sections.items() if body}
  files.write_whole(
    path, style.page(title, sections, before=cell_drawing.ARROW_HEADS)
  )
  return path


def _results(runs: Sequence[Run]) -> str:
  """Each run's figures, a column for each run."""
  test = {run.name: run.results['splits'].get('test') or {} for run in runs}
  intervals = [run.results.get('confidence', {}) for run in runs]

  def fact(heading, value):
    return [heading, *(str(value(run.results)) for run in runs)]

  def of(section, name):
    return lambda results: results.get(section, {}).get(name) or '–'

  rows = [
    fact('protocol', lambda results: results.get('protocol', '–')),
    fact('trained on', of('model', 'trained_on')),
    fact('network', of('model', 'name')),
    fact('parameters', of('model', 'num_parameters')),
    fact('threshold', lambda results: f'{results["threshold"]["value"]:.6g}'),
    fact('its rule', of('threshold', 'rule')),
  ]
  for name, heading in (
    ('num_live', 'live clips'),
    ('num_spoof', 'spoof clips'),
  ):
    rows.append([heading, *(str(s.get(name, '–')) for s in test.values())])
  for name, heading in _METRICS.items():
    cells = []
    for summary, interval in zip(test.values(), intervals, strict=True):
      cell = tables.percent(summary.get(name))
      cells.append(f'{cell} ({tables.interval(interval.get(name))})')
    rows.append([f'{heading} (%)', *cells])
  fixed = (s.get('bpcer_at_apcer', {}).get('0.05', {}) for s in test.values())
  rows.append(
    [
      'BPCER at APCER 5 %, worst type (%)',
      *(tables.percent(rates.get('worst')) for rates in fixed),
    ]
  )
  rows.append(
    [
      'what qualifies them',
      *(' '.join(tables.caveats(run.results)) or '–' for run in runs),
    ]
  )
  text = 'Figures of the test clips, with 95 % intervals over subjects.'
  protocols = {run.results.get('protocol') or '' for run in runs}
  # A file of scores has no protocol: its clips decide.
  judged = [p for p in protocols if not p.startswith(judgement.OF_FILE)]
  if len(judged) > 1:
    text += (
      ' The runs were judged on different protocols, so their figures cannot '
      'be compared.'
    )
  elif len(runs) > 1 and (nameless := [r.name for r in runs if _nameless(r)]):
    text += (
      f' The clips of {", ".join(nameless)} have no names, so whether all were '
      'judged on the same clips is not known.'
    )
  elif len({tuple(sorted(clips)) for clips in _clips(runs)}) > 1:
    text += (
      ' The runs were judged on different clips, so their figures cannot be '
      'compared.'
    )
  return style.paragraph(text) + style.table(('', *test), rows)


_METRICS = {
  'hter': 'HTER',
  'acer': 'ACER',
  'apcer_max': 'APCER, worst type',
  'bpcer': 'BPCER',
  'eer': 'EER',
  'auc': 'AUC',
}


def _clips(runs: Sequence[Run]) -> list[list[tuple]]:
  """What tells each test clip of each run from the others of all runs."""
  names = ['clip_id', 'label']
  every = [run.test['clip_id'].tolist() for run in runs]
  if any(len(set(of_run)) < len(of_run) for of_run in every):
    # Many subjects have a clip of one name.
    names.append('subject')
  return [_named(run.test, names) for run in runs]


def _named(
  table: Mapping[str, np.ndarray], names: Sequence[str]
) -> list[tuple]:
  """The values of some columns, of each row."""
  return list(zip(*(table[name].tolist() for name in names), strict=True))


def _nameless(run: Run) -> bool:
  """Whether a file of scores had no names of clips."""
  named = map(score_table.NAMELESS.fullmatch, run.test['clip_id'].tolist())
  return all(named)


def _det(runs: Sequence[Run]) -> str:
  curves, points, spoken = {}, {}, []
  for run in runs:
    scores, labels = run.test['score'], run.test['label']
    if len(np.unique(labels)) < 2:
      continue
    eer = tables.percent(metrics.eer(scores, labels)[0])
    name = f'{run.name}, EER {eer} %'
    curves[name] = metrics.det(scores, labels)
    value = run.results['threshold']['value']
    points[name] = (
      np.mean(scores[labels == 0] > value),
      np.mean(scores[labels == 1] <= value),
    )
    spoken.append(name)
  if not curves:
    return ''
  return style.paragraph(
    'Both errors of the test clips at every threshold, with all attacks as one '
    'type. Lower left is better.'
  ) + style.chart(
    charts.det_curves(curves, points), '', f'DET curves: {"; ".join(spoken)}.'
  )


def _by_type(runs: Sequence[Run]) -> str:
  found = [
    run.results['splits'].get('test', {}).get('apcer_by_type', {})
    for run in runs
  ]
  kinds = sorted({kind for rates in found for kind in rates})
  if not kinds:
    return ''
  rows = [
    [kind, *(tables.percent(rates.get(kind)) for rates in found)]
    for kind in kinds
  ]
  return style.table(
    ('attack type', *(f'{run.name} (%)' for run in runs)), rows
  )


def _genotypes(runs: Sequence[Run]) -> str:
  drawn = [(run.name, page.cells(run.genotype)) for run in runs]
  if not any(body for _, body in drawn):
    return ''
  return style.columns(
    [
      (name, body or style.paragraph('A network without a genotype.'))
      for name, body in drawn
    ]
  )


def worst(run: Run, number: int) -> list[int]:
  """The wrongly judged clips, the farthest from the threshold first.

  Returns:
    Places in `run.test`; ties in the order of the file.
  """
  margin = run.test['score'] - run.results['threshold']['value']
  wrong = (margin > 0) != (run.test['label'] == 1)
  order = np.argsort(-np.abs(margin), kind='stable')
  return [int(i) for i in order if wrong[i]][:number]


def _mistakes(runs: Sequence[Run]) -> str:
  """Each run's worst mistakes: how the others judged them, and pictures."""
  clips = dict(zip((run.name for run in runs), _clips(runs), strict=True))
  accepted = {
    run.name: {
      clip: score > run.results['threshold']['value']
      for clip, score in zip(
        clips[run.name], run.test['score'].tolist(), strict=True
      )
    }
    for run in runs
  }
  parts = []
  for run in runs:
    places = worst(run, _NUM_WORST)
    if not places:
      parts.append((run.name, style.paragraph('No clip is judged wrongly.')))
      continue
    rows = []
    for i in places:
      label = bool(run.test['label'][i])
      others = [
        other.name
        for other in runs
        if other is not run
        and accepted[other.name].get(clips[run.name][i], label) != label
      ]
      rows.append(
        [
          str(run.test['clip_id'][i]),
          str(run.test['attack_type'][i]),
          f'{run.test["score"][i]:.4f}',
          ', '.join(others) or '–',
        ]
      )
    body = style.table(('clip', 'type', 'score', 'also wrong in'), rows)
    parts.append((run.name, body + _cards(run)))
  return style.paragraph(
    'The wrongly judged test clips whose scores are farthest from the '
    'threshold. Pictures are of those clips that the run has kept.'
  ) + style.columns(parts)


def _cards(run: Run) -> str:
  """Pictures of the worst mistakes that are in samples.npz."""
  if not run.samples.exists():
    return ''
  with np.load(run.samples, allow_pickle=False) as file:
    samples = {name: file[name] for name in file.files}
  # Clips of two datasets may have one name. Older files have no subjects.
  names = [name for name in ('clip_id', 'subject') if name in samples]
  kept = {clip: place for place, clip in enumerate(_named(samples, names))}
  clips = _named(run.test, names)
  chosen = [kept[clips[i]] for i in worst(run, len(clips)) if clips[i] in kept]
  value = run.results['threshold']['value']
  return style.cards(
    [page.clip_card(samples, i, value) for i in chosen[:_MAX_CARDS]]
  )
