"""Measures one accelerator: our steps, and PyTorch's on the same card.

python -m benchmarks.accelerator --json=FILE [--budget=480] [--only=WORD ...]
python -m benchmarks.accelerator --json=FILE --lowered

The most telling figures come first. FILE is written after every section. A
section that fails or has no time left is recorded as such, and the rest goes
on. On a CPU the same sections run at the smallest size, which measures nothing
worth knowing but shows that they run. PyTorch's sections need the extra
`torch`.

--lowered runs nothing: it lowers the published sizes for GPU and TPU and counts
operations, distinct convolutions, floating point operations and bytes.
"""

import dataclasses
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from benchmarks import serving
from nasfas_jax import files

# The longest that a section may take; compiling a search takes most of it.
SECTION_SECONDS = 240.0
# A section is not begun with less left; one that compiles for long needs more.
LEAST_SECONDS = 10.0
LEAST_TO_SEARCH = 110.0
# 55 seconds were too few beside an H100.
LEAST_TO_COMPILE_THEIRS = 90.0
OURS, THEIRS = 'jax', 'torch'
COMMANDS = {
  OURS: 'benchmarks.accelerator_steps',
  THEIRS: 'benchmarks.accelerator_twins',
}
# XLA takes its first guess of every algorithm.
UNTRIED = '--xla_gpu_autotune_level=0'
# Sizes of configs/search.py, with the clips of a step.
SIZES = {
  'paper': {'side': 8192, 'large': 32, 'small': (1, 12), 'search': 12},
  'debug': {'side': 256, 'large': 4, 'small': (1, 2), 'search': 2},
}


@dataclasses.dataclass(frozen=True)
class Section:
  """A part of the measurement.

  Attributes:
    name: in the results.
    of: whose steps, `OURS` or `THEIRS`.
    request: for the process that runs it.
    compared: name of our section that PyTorch's is set against.
    least: seconds that must be left when it begins.
    flags: for XLA_FLAGS, which a process reads once.
  """

  name: str
  of: str
  request: dict
  compared: str = ''
  least: float = LEAST_SECONDS
  flags: str = ''


def sections(size: str) -> list[Section]:
  """All sections in their order.

  A card holds one framework at a time, so that sections of a framework that
  follow each other share a process.
  """
  clips = SIZES[size]
  of_one, of_twelve = clips['small']
  large = clips['large']

  def ours(kind, batch, form, xla_flags='', **supernet):
    words = [f'{name}={value}' for name, value in supernet.items()]
    words += [xla_flags.removeprefix('--')] if xla_flags else []
    request = {'kind': kind, 'size': size, 'batch': batch, 'form': form}
    if supernet:
      request['supernet'] = supernet
    return Section(
      ', '.join([_title(kind, batch, form), *words]),
      OURS,
      request,
      least=LEAST_TO_SEARCH if kind in ('search', 'meta') else LEAST_SECONDS,
      flags=xla_flags,
    )

  def theirs(kind, batch, form, compiled):
    title = _title(kind, batch, form)
    name = f'{title}, PyTorch {"compiled" if compiled else "eager"}'
    request = {'kind': kind, 'size': size, 'batch': batch, 'form': form}
    request['compiled'] = compiled
    least = LEAST_TO_COMPILE_THEIRS if compiled else LEAST_SECONDS
    return Section(name, THEIRS, request, title, least)

  fast, precise = 'bfloat16', 'tensorfloat32'
  searched = clips['search']
  matrix_rate = Section(
    'matrix rate', OURS, {'kind': 'matrix rate', 'side': clips['side']}
  )
  return [
    matrix_rate,
    ours('training', large, fast),
    ours('inference', large, fast),
    # As runs score.
    ours('inference', large, 'float32'),
    ours('search', searched, fast),
    ours('meta', 0, fast),
    theirs('training', large, fast, True),
    theirs('training', large, fast, False),
    theirs('search', searched, fast, False),
    ours('training', large, fast, UNTRIED),
    ours('augmentation', large, precise),
    ours('inference', of_one, fast),
    ours('training', of_twelve, fast),
    ours('training', large, precise),
    ours('search', searched, precise),
    theirs('search', searched, precise, False),
    theirs('inference', large, fast, False),
    theirs('inference', large, fast, True),
    theirs('training', large, precise, False),
    theirs('inference', of_one, fast, False),
    theirs('training', of_twelve, fast, False),
    ours('inference', large, precise),
    ours('search', searched, fast, UNTRIED),
    ours('meta', 0, fast, UNTRIED),
    ours('search', searched, fast, remat_convolutions=True),
    ours('search', searched, fast, edge_loop=False),
    ours('meta', 0, precise),
    ours('inference', of_one, precise),
    ours('training', of_twelve, precise),
    theirs('inference', large, precise, False),
    theirs('training', large, precise, True),
    theirs('inference', large, precise, True),
    theirs('inference', of_one, fast, True),
    theirs('inference', of_one, precise, False),
    theirs('training', of_twelve, precise, False),
    theirs('training', of_twelve, fast, True),
    theirs('search', searched, fast, True),
  ]


def _title(kind: str, batch: int, form: str) -> str:
  return f'{kind}, batch {batch}, {form}' if batch else f'{kind}, {form}'


def derived(found: dict[str, dict], listed: Sequence[Section]) -> dict:
  """Shares and ratios by section.

  Args:
    found: name of a section -> its figures; those that have no 'ms' are left
      out.
    listed: the sections.

  Returns:
    'share_of_matrix_rate' of our steps, 'pytorch_over_ours' (their time over
    ours) and 'meta_over_plain' (the time of a step over tasks over that of the
    plain search, for the same number of clips).
  """
  rates = found.get('matrix rate', {})
  shares, ratios, metas = {}, {}, {}
  plain = {
    (section.request['form'], section.flags): found[section.name]
    for section in reversed(listed)
    if section.request['kind'] == 'search'
    and section.of == OURS
    and 'ms' in found.get(section.name, {})
  }
  for section in listed:
    figures = found.get(section.name, {})
    if 'ms' not in figures:
      continue
    rate = rates.get(section.request['form'])
    if section.of == OURS and rate and figures['gflop']:
      shares[section.name] = figures['gflop'] / figures['ms'] / rate
    ours = found.get(section.compared, {})
    if 'ms' in ours:
      ratios[section.name] = figures['ms'] / ours['ms']
    beside = plain.get((section.request['form'], section.flags))
    if section.request['kind'] == 'meta' and beside:
      metas[section.name] = (figures['ms'] / figures['clips']) / (
        beside['ms'] / beside['clips']
      )
  return {
    'share_of_matrix_rate': shares,
    'pytorch_over_ours': ratios,
    'meta_over_plain': metas,
  }


def run(
  listed: Sequence[Section],
  start: Callable[[str, str], serving.Server],
  keep: Callable[[dict], None],
  *,
  budget: float,
  missing: Sequence[str] = (),
  server: serving.Server | None = None,
) -> dict[str, dict]:
  """Runs sections one after another.

  Args:
    listed: the sections.
    start: starts the process of `OURS` or of `THEIRS`, with flags of XLA.
    keep: is given all results after every section.
    budget: seconds for all of them.
    missing: whose sections are skipped.
    server: a process of `OURS` without flags that runs already; is ended here.

  Returns:
    Name -> figures, with 'status': 'done', 'failed', 'out of time' or
    'skipped', a 'reason' unless it is done, and 'seconds'. One that is not done
    has what it had told by then.
  """
  found = {}
  began = time.monotonic()
  runs = OURS, ''
  try:
    for section in listed:
      left = budget - (time.monotonic() - began)
      at = time.monotonic()
      if section.of in missing:
        figures = {'status': 'skipped', 'reason': f'{section.of} is missing'}
      elif left < section.least:
        figures = {'status': 'out of time', 'reason': 'not begun'}
      else:
        if server is None or runs != (section.of, section.flags):
          # Only the end of a process gives all its memory back.
          if server is not None:
            server.__exit__()
          runs = section.of, section.flags
          server = start(*runs)
        try:
          figures = server.ask(section.request, min(left, SECTION_SECONDS))
          figures['status'] = 'done'
        except (serving.OutOfTime, RuntimeError) as error:
          late = isinstance(error, serving.OutOfTime)
          status = 'out of time' if late else 'failed'
          figures = {**server.part, 'status': status, 'reason': str(error)}
          # After some errors a process cannot use its card any more.
          server.__exit__()
          server = None
      figures['seconds'] = time.monotonic() - at
      found[section.name] = figures
      keep(found)
      _say(section.name, figures)
  finally:
    if server is not None:
      server.__exit__()
  return found


def _say(name: str, figures: dict) -> None:
  text = figures['status']
  if text != 'done':
    text = f'{text}: {figures["reason"]}'
  if 'ms' in figures:
    rate = figures['clips_per_second']
    text = f'{figures["ms"]:.4g} ms, {rate:.4g} clips/s, {text}'
  print(f'{name}: {text} ({figures["seconds"]:.0f} s)', flush=True)


# By which a user sets how much memory of a GPU JAX takes.
_MEMORY = {
  'XLA_CLIENT_MEM_FRACTION',
  'XLA_PYTHON_CLIENT_MEM_FRACTION',
  'XLA_PYTHON_CLIENT_PREALLOCATE',
  'XLA_PYTHON_CLIENT_ALLOCATOR',
}


def starter(cache: str) -> Callable[[str, str], serving.Server]:
  """Makes the `start` of `run`.

  Args:
    cache: folder of the compilation caches, one for each set of flags.
  """

  def start(of: str, xla_flags: str) -> serving.Server:
    environ = dict(os.environ)
    if xla_flags:
      environ['XLA_FLAGS'] = (
        f'{environ.get("XLA_FLAGS", "")} {xla_flags}'.strip()
      )
    arguments = []
    # A cache may hold choices of algorithms: not for those without.
    place = os.path.join(cache, xla_flags.strip('-') or 'default')
    if of == THEIRS:
      # JAX only tells sizes there.
      environ['JAX_PLATFORMS'] = 'cpu'
    else:
      arguments = [place]
      # No other process runs beside it. In one piece, the memory of a GPU that
      # one step has given back serves the next, whatever its size.
      if not _MEMORY.intersection(environ):
        environ['XLA_CLIENT_MEM_FRACTION'] = '0.9'
    return serving.Server(['-m', COMMANDS[of], *arguments], environ)

  return start


def measure(path: str, budget: float, only: Sequence[str]) -> None:
  """Runs the sections whose names hold a word of `only`, or all."""
  began = time.monotonic()
  with tempfile.TemporaryDirectory(
    prefix='xla_', ignore_cleanup_errors=True
  ) as cache:
    start = starter(cache)
    server = start(OURS, '')
    try:
      device = server.ask({'kind': 'device'}, budget)
    except BaseException:
      server.__exit__()
      raise
    size = 'debug' if device['platform'] == 'cpu' else 'paper'
    listed = [
      section
      for section in sections(size)
      if not only
      or section.name == 'matrix rate'
      or any(word in section.name for word in only)
    ]
    head = {
      'device': device,
      'size': size,
      'python': sys.version.split()[0],
      'budget': budget,
    }

    def keep(found):
      if path:
        seconds = time.monotonic() - began
        files.write_json(
          path,
          {
            **head,
            'seconds': seconds,
            **derived(found, listed),
            'sections': found,
          },
        )

    missing = [] if importlib.util.find_spec('torch') else [THEIRS]
    found = run(
      listed,
      start,
      keep,
      budget=budget - (time.monotonic() - began),
      missing=missing,
      server=server,
    )
  print(f'{device["kind"]}, size {size!r}, {time.monotonic() - began:.0f} s')
  for part, figures in derived(found, listed).items():
    for name, value in figures.items():
      print(f'{part:22} {name:56} {value:8.3f}')


def count(path: str) -> None:
  """Counts what is lowered; prints it and writes it."""
  from benchmarks import lowered

  found = lowered.measure()
  if path:
    files.write_json(path, found)
  for platform, steps in found.items():
    for name, figures in steps.items():
      text = ', '.join(f'{key} {value:,.0f}' for key, value in figures.items())
      print(f'{platform:4} {name}: {text}')


def main(argv) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unknown arguments: {argv[1:]}')
  # Below it, optax tells of every schedule that is constant.
  logging.set_verbosity(logging.WARNING)
  values = flags.FLAGS
  if values.lowered:
    count(values.json)
  else:
    measure(values.json, values.budget, values.only)


if __name__ == '__main__':
  flags.DEFINE_string('json', '', 'File to write; "" writes none.')
  flags.DEFINE_float('budget', 480.0, 'Seconds for all sections.', 1.0)
  flags.DEFINE_multi_string('only', [], 'Sections whose names hold a word.')
  flags.DEFINE_bool('lowered', False, 'Lower and count; run nothing.')
  app.run(main)
