"""The table of a family of protocols, as papers print it.

A family is a prefix of protocol names, such as oulu_npu, oulu_npu/3 or
synthetic_fas/cross_domain. Each protocol has its own run, in a folder named
after it with '-' for '/'.
"""

import pathlib
import statistics
from collections.abc import Mapping, Sequence

from nasfas_jax import files
from nasfas_jax.data import protocols
from nasfas_jax.report import tables


def members(family: str) -> list[str]:
  """The protocols of a family, in order; [] for a name that is no family."""
  return [
    name for name in protocols.all_protocols() if name.startswith(f'{family}/')
  ]


def folder(parent: pathlib.Path, protocol: str) -> pathlib.Path:
  """The folder of the run of one protocol of a family."""
  return parent / protocol.replace('/', '-')


def groups(names: Sequence[str]) -> dict[str, list[str]]:
  """Groups the protocols that a table averages: a/3/1 ... a/3/6 -> 'a/3'."""
  grouped = {}
  for name in names:
    parent = name.rpartition('/')[0]
    # A dataset's protocols without folds, such as a/1 and a/2, stay alone.
    key = parent if '/' in parent else name
    grouped.setdefault(key, []).append(name)
  return grouped


def read(workdir: pathlib.Path) -> dict:
  """The results of a finished run."""
  return files.read_json(workdir / 'results.json')


def table(results: Mapping[str, Mapping]) -> str:
  """A Markdown table of finished evaluations.

  Args:
    results: protocol -> content of its results.json.

  Returns:
    One row per group: its metrics in percent, as mean and standard deviation
    over its protocols, and its published figures, marked as such. Protocols
    whose test domains or attack types the run was trained on have a row of
    their own, without published figures, and do not count in the group's. Over
    several datasets, HTER stands for both ways of taking the threshold.
  """
  lines = []
  for group, names in groups(list(results)).items():
    dataset = group.partition('/')[0]
    methods = protocols.published(dataset).get(group, {})
    for words in (_COUNTED, _SEEN, _UNKNOWN):
      chosen = [name for name in names if _standing(results[name]) == words]
      if not chosen:
        continue
      cells = [group, str(len(chosen)), *_figures(results, chosen)]
      if words == _COUNTED:
        cells += [_published(*method) for method in methods.items()]
      else:
        cells[0] = f'{group}, {words}: {", ".join(chosen)}'
      lines.append(f'| {" | ".join(cells)} |')
  return '\n'.join(lines)


def note(results: Mapping[str, Mapping]) -> str:
  """What to know about the rows of `table`; '' if nothing."""
  found = {_standing(content) for content in results.values()}
  text = ''
  if found != {_COUNTED}:
    text += (
      ' A protocol counts in the mean of its group if it holds out a domain or '
      'an attack type that the run was not trained on; the others are apart.'
    )
  if _UNKNOWN in found:
    text += ' An old run has not recorded what it was trained on.'
  qualified = [
    name
    for name, content in results.items()
    # What was seen stands in the rows.
    if tables.caveats({**content, 'seen': {}})
  ]
  if qualified:
    text += (
      f' What qualifies the figures of {", ".join(qualified)} is in their '
      'reports.'
    )
  return text


_COUNTED = ''
_SEEN = 'seen in training'
_UNKNOWN = 'not known whether seen in training'


def _standing(content: Mapping) -> str:
  """Whether an evaluation counts in the mean of its group."""
  status = content.get('seen', {}).get('status', 'own')
  return {'seen': _SEEN, 'unknown': _UNKNOWN}.get(status, _COUNTED)


def _figures(results: Mapping[str, Mapping], names: Sequence[str]) -> list[str]:
  """The cells of the metrics of a row."""
  protocol = protocols.get_protocol(names[0])
  # Of unlabelled test clips there are no figures.
  tests = [results[name]['splits'].get('test', {}) for name in names]
  cells = []
  for metric in protocol.headline:
    spread = _spread([test.get(metric) for test in tests])
    if metric == 'hter' and len(protocol.datasets) > 1:
      sources = {
        results[name].get('threshold', {}).get('split', '') for name in names
      }
      cells.append(f'hter (threshold of {"/".join(sorted(sources))}) {spread}')
      eers = [results[name].get('test_eer') or {} for name in names]
      spread = _spread([eer.get('hter') for eer in eers])
      cells.append(
        f"hter (test clips' own EER threshold, as published) {spread}"
      )
    else:
      cells.append(f'{metric} {spread}')
  if len(protocol.datasets) > 1:
    rates = [test.get('tpr_at_fpr', {}).get('0.01') for test in tests]
    cells.append(f'tpr at fpr 1 % {_spread(rates)}')
  return cells


def _published(method: str, figures: Mapping[str, tuple[float, float]]) -> str:
  """The cell of a published method; see `definition.Published`."""
  cells = [
    f'{metric} {mean:.1f}' + (f' ± {deviation:.1f}' if deviation else '')
    for metric, (mean, deviation) in figures.items()
  ]
  return f'published, {method}: {", ".join(cells)}'


def _spread(values: Sequence[float | None]) -> str:
  """Mean and standard deviation in percent; '-' if a value is missing."""
  if any(value is None for value in values):
    return '-'
  mean = 100 * statistics.mean(values)
  if len(values) == 1:
    return f'{mean:.1f}'
  return f'{mean:.1f} ± {100 * statistics.stdev(values):.1f}'
