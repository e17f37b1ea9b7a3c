"""Our steps against PyTorch's, by configs/compare.py (extra [torch]).

The default sizes, and CDCN++ and the supernet at 256x256. A ratio is the
median time of the faster of eager and compiled PyTorch over ours; the search
step is eager alone, since its compilation does not end within minutes.
"""

import importlib.util
import pathlib
import tempfile

from benchmarks import operators
from nasfas_jax.study import jobs

VARIANTS = {
  'default': 'configs/compare.py',
  'paper': 'configs/compare.py:paper',
}
# At 256x256 three more processes with a training step would take minutes.
SECTIONS = {'default': "('speed','memory')", 'paper': "('speed',)"}


def measure() -> dict[str, dict[str, float]]:
  """Fills all parts, see `benchmarks.run`; nothing without PyTorch."""
  found = {
    name: {}
    for name in ('ratios', 'seconds', 'compile_seconds', 'memory_gib', 'limits')
  }
  if importlib.util.find_spec('torch') is None:
    print('PyTorch is not installed: the group "frameworks" is left out.')
    return found
  gflops = operators.matmul_gflops()
  found['limits']['matmul_gflops'] = gflops
  listed = [
    jobs.Job(
      name,
      (
        f'--config={config}',
        f'--config.compare.sections={SECTIONS[name]}',
      ),
    )
    for name, config in VARIANTS.items()
  ]
  with tempfile.TemporaryDirectory() as folder:
    for name, results in jobs.run(listed, pathlib.Path(folder)).items():
      _add(found, name, results, gflops)
  return found


def _add(found, name, results, gflops) -> None:
  for case, figures in results['speed'].items():
    title = f'{name}, {case}'
    if figures['ratios']:
      found['ratios'][f'{title}, PyTorch / ours'] = min(
        figures['ratios'].values()
      )
    for framework, times in figures['times'].items():
      if 'median' in times:
        found['seconds'][f'{title}, {framework}'] = times['median']
        found['compile_seconds'][f'{title}, {framework}'] = times['first']
  for framework, figures in results.get('memory', {}).items():
    if 'peak' in figures:
      found['memory_gib'][f'{name}, training, peak, {framework}'] = (
        figures['peak'] / 1024
      )
  times = results['speed']['inference, batch 8']['times']['jax']
  flops = 2 * 8 * results['cost']['gmac']['jax'] * 1e9
  found['ratios'][f'{name}, forward pass, share of the matrix product rate'] = (
    flops / times['median'] / 1e9 / gflops
  )
