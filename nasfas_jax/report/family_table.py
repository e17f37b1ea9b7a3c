"""The table of a family of protocols, as papers print it.

A family is the first part of protocol names, such as oulu_npu, oulu_npu/3 or
synthetic_fas/cross_domain. Each protocol has a run of its own, in a folder of
its name with '-' for '/'.
"""

import pathlib
import statistics
from collections.abc import Mapping, Sequence

from nasfas_jax import files
from nasfas_jax.data import protocols


def members(family: str) -> list[str]:
  """The protocols of a family, in order; [] if it is not one."""
  return [
    name for name in protocols.all_protocols() if name.startswith(f'{family}/')
  ]


def folder(parent: pathlib.Path, protocol: str) -> pathlib.Path:
  """Where the run of a protocol of a family lies."""
  return parent / protocol.replace('/', '-')


def groups(names: Sequence[str]) -> dict[str, list[str]]:
  """Protocols by what a table averages over: 'a/3/1' to 'a/3/6' -> 'a/3'."""
  grouped = {}
  for name in names:
    parent = name.rpartition('/')[0]
    # A dataset's plain protocols, such as a/1 and a/2, stand alone.
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
    A line a group: its metrics in percent, mean and standard deviation over
    its protocols, and the figures that are published for it, marked as such.
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
  """The figures of a method, in percent: metric -> (mean, deviation or 0)."""
  cells = [
    f'{metric} {mean:.1f}' + (f' ± {deviation:.1f}' if deviation else '')
    for metric, (mean, deviation) in figures.items()
  ]
  return f'published, {method}: {", ".join(cells)}'


def _spread(values: Sequence[float | None]) -> str:
  """Mean and standard deviation in percent; '-' where a fold has none."""
  if any(value is None for value in values):
    return '-'
  mean = 100 * statistics.mean(values)
  if len(values) == 1:
    return f'{mean:.1f}'
  return f'{mean:.1f} ± {100 * statistics.stdev(values):.1f}'
