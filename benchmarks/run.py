"""Measures speed, compile time and memory on this machine.

python -m benchmarks.run --json=FILE [--only=GROUP]

Ratios are of medians taken in turns, PyTorch in a process of its own. Writes
one JSON object with 'ratios', 'seconds', 'compile_seconds', 'memory_gib' and
'limits', each a flat object, and prints it as a table.
"""

if __name__ == '__main__':
  # As the main module does, before the imports.
  from nasfas_jax.ops.cpu import huge_pages

  huge_pages.restart_with_huge_pages()

import os
import platform

import jax
from absl import app, flags

from benchmarks import (
  cpu_forms,
  frameworks,
  fusion,
  meta,
  operators,
  paper,
  pipeline,
  preparing,
)
from nasfas_jax import files
from nasfas_jax.ops.cpu import xla_options

GROUPS = {
  'cpu_forms': cpu_forms.measure,
  'operators': operators.measure,
  'meta': meta.measure,
  'paper': paper.measure,
  'pipeline': pipeline.measure,
  'fusion': fusion.measure,
  'preparing': preparing.measure,
  'frameworks': frameworks.measure,
}
PARTS = ('ratios', 'seconds', 'compile_seconds', 'memory_gib', 'limits')

_JSON = flags.DEFINE_string('json', '', 'File to write; "" writes none.')
_ONLY = flags.DEFINE_enum(
  'only', None, list(GROUPS), 'One group; default: all.'
)


def main(argv) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unknown arguments: {argv[1:]}')
  # As the main module does.
  xla_options.prefer_own_convolutions()
  found = {part: {} for part in PARTS}
  for name in [_ONLY.value] if _ONLY.value else GROUPS:
    for part, values in GROUPS[name]().items():
      found[part].update(values)
  device = jax.devices()[0].device_kind
  print(f'{device}, {os.cpu_count()} CPUs, {platform.machine()}')
  for part in PARTS:
    for name, value in found[part].items():
      print(f'{part:16} {name:56} {value:10.3f}')
  if _JSON.value:
    files.write_json(_JSON.value, found)


if __name__ == '__main__':
  app.run(main)
