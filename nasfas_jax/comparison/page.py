"""The page of a comparison, from what it found."""

import pathlib
from collections.abc import Mapping, Sequence

from nasfas_jax import files
from nasfas_jax.report import style, tables


def write(
  workdir: pathlib.Path, results: Mapping, config: Mapping, environment: Mapping
) -> pathlib.Path:
  """Writes report/index.html.

  Args:
    workdir: folder of the comparison.
    results: content of its results.json.
    config: its fields, as nested dicts.
    environment: versions and devices.

  Returns:
    The path of the page.
  """
  sections = {
    'Summary': _summary(results),
    'Network': _differences(results.get('network')),
    'Supernet': _differences(results.get('supernet')),
    'Metrics': _metrics(results.get('metrics')),
    'Speed': _speed(results.get('speed')),
    'Memory': _memory(results.get('memory')),
    'Config': tables.fields_table(config, 'Every field'),
    'Environment': tables.fields_table(environment, 'Versions and devices'),
  }
  sections = {title: body for title, body in sections.items() if body}
  path = workdir / 'report' / 'index.html'
  files.write_whole(
    path,
    style.page(
      f'compare: {results["model"]["name"]} in JAX and in PyTorch', sections
    ),
  )
  return path


def _summary(results: Mapping) -> str:
  limits = results['limits']
  tiles = []
  for name, held in results['holds'].items():
    found = results[name]
    tiles.append(
      (
        f'{name}, within the limits',
        'yes' if held else 'no',
        f'map {found["map"]["max"]:.2g}, gradients {gradient_gaps(found)}',
      )
    )
  cost = results['cost']
  tiles += [
    (
      'Parameters',
      f'{cost["parameters"]["jax"]:,}',
      f'PyTorch: {cost["parameters"]["torch"]:,}',
    ),
    (
      'GMAC',
      f'{cost["gmac"]["jax"]:.4g}',
      f'PyTorch, two convolutions for one: {cost["gmac"]["torch"]:.4g}',
    ),
  ]
  model = results['model']
  origin = {
    'checkpoint': 'a run',
    'torch_weights': 'a file of PyTorch',
    'drawn': 'drawn',
  }[model['weights']]
  return style.tiles(tiles) + style.paragraph(
    f'Weights: {origin}. JAX {model["jax"]} on {model["jax_devices"]}, PyTorch '
    f'{model["torch"]}. Maps, gradients and metrics of PyTorch are from the '
    f'CPU ({model["torch_threads"]} threads), its times and memory from: '
    f'{model["torch_device"]}. '
    f'Limits: {limits["map"]:g} for the map in float32; '
    f'{limits["gradients_float64"]:g} of its largest value for a gradient in '
    f'float64, and {limits["gradients_whole"]:g} for all of them together in '
    f'float32; {limits["gradients"]:g} of its largest value for a gradient in '
    'float32 where float64 was not compared.'
  )


def gradient_gaps(found: Mapping) -> str:
  """The largest differences of the gradients, in words."""
  text = f'{found["gradients"]["max"]:.2g} in float32'
  if 'gradients_float64' in found:
    text += f', {found["gradients_float64"]["max"]:.2g} in float64'
  return text


def _differences(found: Mapping | None) -> str:
  if not found:
    return ''
  named = {
    'map': found['map'],
    **{f'block {name}': block for name, block in found['blocks'].items()},
    'loss': found['loss'],
    f'weights after {found["weights"]["steps"]} steps': found['weights'],
  }
  rows = [
    [name, *(f'{figures[key]:.3g}' for key in ('max', 'mean', 'scale'))]
    for name, figures in named.items()
  ]
  gradients = found['gradients']
  table = style.table(
    ('', 'largest difference', 'mean difference', 'largest value'), rows
  )
  text = style.paragraph(
    'Map and blocks in evaluation, loss and gradients in training. Of '
    f'{len(gradients["tensors"])} gradients the largest relative difference '
    f'is {gradients["max"]:.3g}, of {gradients["worst"]}; the mean is '
    f'{gradients["mean"]:.3g}. The weights of both end '
    f'{found["weights"]["share_of_way"]:.3g} of the way from their start apart.'
  )
  exact = found.get('gradients_float64')
  if exact:
    text += style.paragraph(
      f'In float64 the gradients differ by {exact["max"]:.3g} at most. From '
      f'these, our float32 gradients are up to {exact["jax_rounding"]:.3g} '
      f"away and PyTorch's up to {exact['torch_rounding']:.3g}: a ReLU or a "
      'maximum whose input is zero to within rounding goes one way or the '
      'other, which every gradient below it shows.'
    )
  every = tables.fields_table(
    gradients['tensors'], 'Relative difference of every gradient'
  )
  return table + text + every


def _metrics(found: Mapping | None) -> str:
  if not found:
    return ''
  names = ('hter', 'acer', 'apcer_max', 'bpcer', 'eer', 'auc')
  rows = [
    [
      name,
      f'{found[name]["threshold"]:.6g}',
      *(tables.percent(found[name][key]) for key in names),
    ]
    for name in ('jax', 'torch')
  ]
  heads = ('test clips', 'threshold', *(f'{key} (%)' for key in names))
  return style.table(heads, rows) + style.paragraph(
    'The threshold is that of the dev clips. Largest difference of a score: '
    f'{found["scores"]["max"]:.3g}.'
  )


def _speed(found: Mapping | None) -> str:
  if not found:
    return ''
  rows = []
  for case, figures in found.items():
    for kind, times in figures['times'].items():
      rows.append([f'{case}: {kind}', *_times(times, figures['ratios'], kind)])
  heads = ('', 'median (s)', 'low', 'high', 'first call (s)', 'over JAX')
  return style.table(heads, rows) + style.paragraph(
    'In turns, PyTorch in a process of its own. The first call compiles. The '
    'steps of JAX make the fused input from the frames, those of PyTorch are '
    'given it. A search step is one of the architecture and one of the '
    'weights, first order.'
  )


def _times(times: Mapping, ratios: Mapping, kind: str) -> Sequence[str]:
  if 'error' in times:
    return ['–', '–', '–', times['error'], '–']
  ratio = f'{ratios[kind]:.2f}' if kind in ratios else '–'
  return [
    *(f'{times[key]:.4g}' for key in ('median', 'low', 'high', 'first')),
    ratio,
  ]


def _memory(found: Mapping | None) -> str:
  if not found:
    return ''
  rows = [
    [name, '–', figures['error']]
    if 'error' in figures
    else [name, *(f'{figures[key]:,.0f}' for key in ('loaded', 'peak'))]
    for name, figures in found.items()
    if name != 'xla'
  ]
  xla = found['xla']
  text = (
    "By XLA's analysis, JAX's training step has "
    f'{xla["temporaries"]:,.0f} MiB of temporaries beside '
    f'{xla["arguments"]:,.0f} MiB of arguments.'
  )
  heads = ('training step', 'loaded (MiB)', 'peak (MiB)')
  table = style.table(heads, rows) if rows else ''
  text += (
    ' The table has what is resident of each process on a CPU, and what each '
    'framework holds on a GPU.'
  )
  return table + style.paragraph(text)
