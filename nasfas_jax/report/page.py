"""The report of a run: one self-contained HTML file.

It is built from the files of a workdir only, from whichever exist, so that it
can be written again at any time. The same files give the same bytes.
"""

import base64
import os
import pathlib
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from nasfas_jax import (
  files,
  metrics,
  records,
  run_config,
  run_log,
  score_table,
)
from nasfas_jax.models import search_spaces
from nasfas_jax.report import cell_drawing, charts, style, tables

_MAX_SAMPLES = 32
_MAX_PICTURE_SIDE = 112


def write_report(workdir: str | os.PathLike[str]) -> pathlib.Path:
  """Writes report/index.html from the files of a workdir.

  Args:
    workdir: folder of a run. Reads config.json, environment.json,
      genotype.json, metrics.jsonl, results.json, scores.csv and samples.npz; a
      missing file leaves out its sections.

  Returns:
    The path of the report.

  Raises:
    ValueError: as `score_table.read` and `run_config.read`.
  """
  workdir = pathlib.Path(workdir)
  config = {}
  if (workdir / run_config.FILE).exists():
    config = run_config.read(workdir).to_dict()
  genotype = _read_json(workdir / 'genotype.json')
  results = _read_json(workdir / 'results.json')
  entries = run_log.read_metrics(workdir / 'metrics.jsonl')
  path = workdir / 'scores.csv'
  # Clips without a label have no place in a chart of errors.
  scores = {
    split: score_table.labelled(columns)
    for split, columns in (
      score_table.read(path) if path.exists() else {}
    ).items()
  }
  scores = {
    k: columns for k, columns in scores.items() if len(columns['label'])
  }
  threshold = results.get('threshold', {}).get('value')

  sections = {
    'Results': tables.results_table(results),
    'Seeds': tables.seeds_table(results),
    'Searched cells': cells(genotype),
    'Operation weights over time': _alphas(entries, genotype, config),
    'Training curves': _curves(entries),
    'ROC': _roc(scores, threshold),
    'DET': _det(scores, threshold),
    'Calibration': _calibration(results.get('calibration')),
    'Scores by attack type': _histograms(scores, threshold),
    'Clips and depth maps': _samples(workdir / 'samples.npz', threshold),
    'By attack type': tables.groups_table(
      results.get('per_type'), 'attack type'
    ),
    'By domain': tables.groups_table(results.get('per_domain'), 'domain'),
    'Config': tables.fields_table(config, 'Every field'),
    'Environment': tables.fields_table(
      _read_json(workdir / 'environment.json'), 'Versions and devices'
    ),
  }
  sections = {title: body for title, body in sections.items() if body}
  names = (config.get('experiment'), results.get('protocol'))
  title = ': '.join(str(name) for name in names if name) or 'run'
  page = style.page(title, sections, before=cell_drawing.ARROW_HEADS)

  path = workdir / 'report' / 'index.html'
  files.write_whole(path, page)
  return path


def _read_json(path: pathlib.Path) -> dict:
  return files.read_json(path) if path.exists() else {}


def cells(genotype: Mapping) -> str:
  """The drawings of a genotype's cells, and where it is from."""
  parts = []
  for level, cells in genotype.get('cells', {}).items():
    for number, cell in enumerate(cells, 1):
      name = f'{level} level'
      if len(cells) > 1:
        name += f', cell {number}'
      drawing = cell_drawing.draw_cell(cell, name)
      parts.append(style.figure(drawing, name))
  if not parts:
    return ''
  facts = {k: genotype[k] for k in ('space', 'theta') if k in genotype}
  facts |= genotype.get('choices', {})
  facts |= genotype.get('provenance', {})
  return ''.join(parts) + tables.fields_table(facts, 'Origin of the cells')


def _alphas(
  entries: Sequence[Mapping], genotype: Mapping, config: Mapping
) -> str:
  """A row of heatmaps for each cell."""
  history = [entry for entry in entries if 'alphas' in entry]
  if not history:
    return ''
  steps = [entry['step'] for entry in history]
  space = genotype.get('space') or config.get('supernet', {}).get('space')
  by_level = {
    level: np.array([entry['alphas'][level] for entry in history])
    for level in history[-1]['alphas']
  }
  highest = max(float(weights.max()) for weights in by_level.values())
  parts = [
    style.paragraph(
      'One panel for each edge (source → target node), one row for each '
      'operation, time from left to right. Bright: the operation has a '
      'large weight. The arrow marks the operation that the genotype keeps.'
    )
  ]
  for level, weights in by_level.items():
    num_cells, num_edges, num_operations = weights.shape[1:]
    operations = ()
    if space in search_spaces.SPACES:
      operations = search_spaces.SPACES[space].operations
    if len(operations) != num_operations:
      operations = [f'operation {i}' for i in range(num_operations)]
    edges = search_spaces.cell_edges(search_spaces.num_nodes(num_edges))
    derived = genotype.get('cells', {}).get(level, ())
    for number in range(num_cells):
      kept = {}
      if number < len(derived):
        kept = {
          edges.index((e['source'], e['target'])): e['operation']
          for e in derived[number]['edges']
        }
      name = f'{level} level'
      if num_cells > 1:
        name += f', cell {number + 1}'
      chart = charts.alphas_over_time(
        steps,
        weights[:, number],
        operations,
        [f'{source}→{target}' for source, target in edges],
        kept,
        highest,
      )
      final = np.argmax(weights[-1, number], axis=1)
      spoken = '; '.join(
        f'edge {source} to {target}: {operations[best]} is strongest'
        for (source, target), best in zip(edges, final, strict=True)
      )
      parts.append(style.chart(chart, name, f'At the end, {spoken}.'))
  return ''.join(parts)


def _curves(entries: Sequence[Mapping]) -> str:
  parts = []
  for phase in dict.fromkeys(entry['phase'] for entry in entries):
    lines = [entry for entry in entries if entry['phase'] == phase]
    spoken = f'{len(lines)} measurements up to step {lines[-1]["step"]}.'
    chart = charts.training_curves(
      [{k: v for k, v in line.items() if k != 'phase'} for line in lines]
    )
    parts.append(style.chart(chart, str(phase), spoken))
  return ''.join(parts)


def _roc(scores: Mapping[str, Mapping], threshold: float | None) -> str:
  curves, points, areas = {}, {}, []
  for split, columns in scores.items():
    curve = metrics.roc(columns['score'], columns['label'])
    if curve is None:
      continue
    area = metrics.auc(columns['score'], columns['label'])
    name = f'{split}, AUC {tables.percent(area)} %'
    curves[name] = curve[:2]
    areas.append(name)
    if threshold is not None:
      accepted = columns['score'] > threshold
      live = columns['label'] == 1
      points[name] = accepted[~live].mean(), accepted[live].mean()
  if not curves:
    return ''
  chart = charts.roc_curves(curves, points)
  return style.chart(chart, '', f'ROC curves: {"; ".join(areas)}.')


def _det(scores: Mapping[str, Mapping], threshold: float | None) -> str:
  """The test clips' trade-off of errors, for each attack type and for all."""
  part = 'test' if 'test' in scores else next(iter(scores), None)
  if part is None:
    return ''
  columns = scores[part]
  kinds = np.unique(columns['attack_type'][columns['label'] == 0]).tolist()
  chosen = {'all types': columns['label'] >= 0} if len(kinds) > 1 else {}
  for kind in kinds:
    chosen[kind] = (columns['label'] == 1) | (columns['attack_type'] == kind)
  curves, points, spoken = {}, {}, []
  for kind, rows in chosen.items():
    values, labels = columns['score'][rows], columns['label'][rows]
    curve = metrics.det(values, labels)
    if curve is None:
      return ''
    name = f'{kind}, EER {tables.percent(metrics.eer(values, labels)[0])} %'
    curves[name] = curve
    spoken.append(name)
    if threshold is not None:
      points[name] = (
        np.mean(values[labels == 0] > threshold),
        np.mean(values[labels == 1] <= threshold),
      )
  if not curves:
    return ''
  chart = charts.det_curves(curves, points)
  return style.paragraph(
    f'Both errors of the {part} clips at every threshold, by attack type, on '
    'axes where normal distributions give straight lines. Lower left is better.'
  ) + style.chart(chart, '', f'DET curves: {"; ".join(spoken)}.')


def _calibration(calibration: Mapping | None) -> str:
  table = tables.calibration_table(calibration)
  if not table:
    return ''
  judged = {part: of for part, of in calibration['splits'].items() if of}
  spoken = '; '.join(
    f'{part}: expected calibration error {tables.percent(of["ece"])} %'
    for part, of in judged.items()
  )
  chart = charts.reliability({part: of['bins'] for part, of in judged.items()})
  return table + style.chart(chart, 'Reliability', f'{spoken}.')


def _histograms(scores: Mapping[str, Mapping], threshold: float | None) -> str:
  if not scores:
    return ''
  by_split = {
    split: {
      kind: columns['score'][columns['attack_type'] == kind]
      for kind in np.unique(columns['attack_type']).tolist()
    }
    for split, columns in scores.items()
  }
  chart = charts.score_histograms(by_split, threshold)
  spoken = '; '.join(
    f'{split} {kind}: {len(values)} clips, median {np.median(values):.4g}'
    for split, by_kind in by_split.items()
    for kind, values in by_kind.items()
  )
  return style.paragraph(
    'Number of clips by score. Live clips belong right of the dashed '
    'threshold, attacks left of it. Every row has its own height scale.'
  ) + style.chart(chart, '', f'Histograms: {spoken}.')


def _samples(path: pathlib.Path, threshold: float | None) -> str:
  """Clips beside their maps: still frame, dynamic image, target, prediction."""
  if not path.exists():
    return ''
  with np.load(path, allow_pickle=False) as file:
    samples = {name: file[name][:_MAX_SAMPLES] for name in file.files}
  order = np.lexsort((samples['clip_id'], samples['attack_type']))
  order = sorted(order, key=lambda i: -samples['label'][i])
  shown = [clip_card(samples, i, threshold) for i in order]
  return style.paragraph(
    'Left to right: frame, dynamic image, true depth, predicted depth. Maps '
    'run from 0 (dark) to 1 (bright); the target of an attack is 0.'
  ) + style.cards(shown)


def clip_card(
  samples: Mapping[str, np.ndarray], i: int, threshold: float | None
) -> str:
  """The card of one clip.

  Args:
    samples: the content of samples.npz.
    i: place of the clip.
    threshold: live if score > threshold; None leaves out the verdict.
  """
  label, score = int(samples['label'][i]), float(samples['score'][i])
  pictures = {
    'frame': _png(samples['image'][i]),
    'dynamic image': _png(samples['dynamic'][i]),
    'true depth': _map_png(samples['depth'][i]),
    'predicted depth': _map_png(samples['predicted'][i]),
  }
  verdict = ''
  if label == records.UNLABELLED:
    # It is neither right nor wrong, and what its map should be is not known.
    del pictures['true depth']
  elif threshold is not None:
    verdict = 'right' if (score > threshold) == (label == 1) else 'wrong'
  return style.card(
    pictures,
    title=str(samples['attack_type'][i]) or 'unlabelled',
    text=f'score {score:.4f}',
    detail=f'{samples["clip_id"][i]} · {samples["domain"][i]}',
    verdict=verdict,
  )


def _png(image: np.ndarray) -> str:
  """uint8 RGB [H, W, 3] as the base64 text of a small PNG file."""
  scale = _MAX_PICTURE_SIDE / max(image.shape[:2])
  if scale < 1:
    image = cv2.resize(
      image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
    )
  encoded = cv2.imencode('.png', np.ascontiguousarray(image[..., ::-1]))[1]
  return base64.b64encode(encoded.tobytes()).decode()


def _map_png(depth: np.ndarray) -> str:
  """A float map [S, S] in false colours, clipped to [0, 1]; see `_png`."""
  levels = np.round(255 * np.clip(np.nan_to_num(depth), 0, 1)).astype(np.uint8)
  return _png(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[..., ::-1])
