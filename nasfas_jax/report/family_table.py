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
    over its protocols, and its published figures, marked as such.
  """
  lines = []
  for group, names in groups(list(results)).items():
    headline = protocols.get_protocol(names[0]).headline
    cells = [group, str(len(names))]
    for metric in headline:
      values = [results[name]['splits']['test'][metric] for name in names]
      cells.append(f'{metric} {_spread(values)}')
    dataset = group.partition('/')[0]
    methods = protocols.published(dataset).get(group, {})
    cells += [_published(*method) for method in methods.items()]
    lines.append(f'| {" | ".join(cells)} |')
  return '\n'.join(lines)


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
