"""python -m nasfas_jax.main --config=configs/search.py --workdir=runs/search.

Flags, the embedded dataset where it is missing, and one call into the
experiment that config.experiment names.
"""

if __name__ == '__main__':
  # Before the imports, which take seconds.
  from nasfas_jax.ops.cpu import huge_pages

  huge_pages.restart_with_huge_pages()

import pathlib
import re
import signal
import sys

import jax
from absl import app, flags, logging
from ml_collections.config_flags import config_flags

from nasfas_jax import (
  evaluate,
  list_protocols,
  progress,
  run_config,
  search,
  train,
)
from nasfas_jax.data import index, protocols
from nasfas_jax.ops.cpu import xla_options
from nasfas_jax.report import family_table


def compare(config, workdir: pathlib.Path) -> None:
  """Runs the experiment 'compare', which alone needs PyTorch.

  Raises:
    ValueError: if PyTorch is not installed.
  """
  try:
    from nasfas_jax import compare as experiment
  except ModuleNotFoundError as error:
    if error.name != 'torch':
      raise
    raise ValueError(
      "config.experiment 'compare' needs PyTorch: pip install -e '.[torch]'"
    ) from error
  experiment.compare(config, workdir, prepare_embedded)


def study(config, workdir: pathlib.Path) -> None:
  """Runs the experiment 'study', whose statistics take a second to import."""
  from nasfas_jax.study import experiment

  experiment.study(config, workdir)


EXPERIMENTS = {
  'search': search.search,
  'train': train.train,
  'evaluate': evaluate.evaluate,
  'protocols': list_protocols.list_protocols,
  'study': study,
  'compare': compare,
}
# Rendered, not licensed: made on the spot when it is missing.
EMBEDDED_DATASET = 'synthetic_fas'

FLAGS = flags.FLAGS
_CONFIG = config_flags.DEFINE_config_file(
  'config',
  None,
  'The experiment by name, such as search, or by file, such as '
  'configs/search.py. Variants follow a colon: search:debug,type.',
)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Folder of the run; runs/EXPERIMENT by default.'
)
_TRACEBACK = flags.DEFINE_bool(
  'traceback', False, 'Show the whole traceback of an error.'
)
_CACHE = flags.DEFINE_string(
  'compilation_cache',
  '~/.cache/nasfas_jax/xla',
  "Folder of XLA's persistent compilation cache; '' for none.",
)


class _ConfigParser(config_flags.ConfigFileFlagParser):
  """Takes an installed config by its name, too."""

  def parse(self, path):
    return super().parse(run_config.locate(path))


FLAGS['config'].parser = _ConfigParser('config')


def default_workdir(config) -> pathlib.Path:
  """Where a run goes when --workdir is not given."""
  if config.experiment == 'evaluate' and config.checkpoint:
    name = config.protocol.replace('/', '-')
    return pathlib.Path(config.checkpoint) / 'evaluate' / name
  if config.experiment == 'train' and config.model != 'genotype':
    return pathlib.Path('runs') / f'train-{config.model}'
  return pathlib.Path('runs') / config.experiment


def prepare_embedded(config) -> None:
  """Renders the embedded dataset if the protocol needs it and it is missing."""
  protocol = protocols.get_protocol(config.protocol)
  folder = index.resolve_data_dir(config.data.data_dir)
  builder_config = config.data.builder_config
  if EMBEDDED_DATASET not in protocol.datasets or index.find_dataset(
    folder, EMBEDDED_DATASET, builder_config
  ):
    return
  from nasfas_datasets import prepare

  progress.say(f'Preparing {EMBEDDED_DATASET} in {folder}')
  with progress.lazy_bar('Preparing') as report:
    prepare.prepare(
      EMBEDDED_DATASET,
      config=builder_config or None,
      data_dir=folder,
      progress=report,
    )


def run(config, workdir: pathlib.Path) -> None:
  """Runs the experiment of a config.

  Raises:
    ValueError: for a bad config, with one line that says what is allowed.
  """
  if config.experiment not in EXPERIMENTS:
    raise ValueError(
      f'config.experiment is {config.experiment!r}; allowed: '
      f'{", ".join(EXPERIMENTS)}.'
    )
  run_config.check_fields(config)
  if config.experiment == 'protocols':
    # Nothing is run, so nothing is made.
    EXPERIMENTS[config.experiment](config, workdir)
    return
  names = family_table.members(config.protocol)
  if names and config.protocol not in protocols.all_protocols():
    run_family(config, workdir, names)
  else:
    if config.experiment != 'compare':
      # A comparison does it, when it knows the run's protocol.
      prepare_embedded(config)
    EXPERIMENTS[config.experiment](config, workdir)
  progress.say(f'Everything is in {workdir}')


def run_family(config, workdir: pathlib.Path, names: list[str]) -> None:
  """Runs every protocol of a family and prints the table of the results.

  A training goes into a folder for each protocol. An evaluation takes the run
  of that folder in config.checkpoint, or the one run that config.checkpoint is.

  Raises:
    ValueError: for a search or a comparison, or if no protocol has a run.
  """
  if config.experiment in ('search', 'compare'):
    raise ValueError(
      f'config.protocol is {config.protocol!r}, a family; the experiment '
      f'{config.experiment!r} takes one protocol: {", ".join(names)}.'
    )
  results = {}
  for name in names:
    one = config.copy_and_resolve_references()
    one.protocol = name
    if config.experiment == 'evaluate':
      source = pathlib.Path(config.checkpoint)
      if not (source / 'config.json').exists():
        source = family_table.folder(source, name)
      if not (source / 'config.json').exists():
        progress.say(f'{name}: no run in {source}')
        continue
      one.checkpoint = str(source)
    prepare_embedded(one)
    folder = family_table.folder(workdir, name)
    EXPERIMENTS[config.experiment](one, folder)
    results[name] = family_table.read(folder)
  if not results:
    raise ValueError(
      f'config.checkpoint {config.checkpoint!r} holds no run of the family '
      f'{config.protocol!r}; training it with --config.protocol='
      f'{config.protocol} makes them.'
    )
  progress.say(
    'Test, percent, mean and standard deviation over the protocols of a line; '
    'published figures are marked and were measured by others.'
  )
  progress.say(family_table.table(results))


def main(argv) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unknown arguments: {argv[1:]}')
  # Orbax tells every step of every save at the level of information.
  logging.set_verbosity(logging.WARNING)
  xla_options.prefer_own_convolutions()
  if _CACHE.value:
    cache = pathlib.Path(_CACHE.value).expanduser()
    jax.config.update('jax_compilation_cache_dir', str(cache))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 1.0)
  config = _CONFIG.value
  workdir = pathlib.Path(_WORKDIR.value or default_workdir(config))
  try:
    run(config, workdir)
  except (ValueError, OSError, FloatingPointError) as error:
    if _TRACEBACK.value:
      raise
    fail(f'{error} (--traceback shows where)')
  except KeyboardInterrupt:
    if _TRACEBACK.value:
      raise
    print(
      '\nStopped; the same command goes on from the last checkpoint in '
      f'{str(workdir)!r}.',
      file=sys.stderr,
    )
    raise SystemExit(128 + signal.SIGINT) from None
  except Exception as error:
    # Not foreseen, so its kind and the way to report it are part of the line.
    if _TRACEBACK.value:
      raise
    fail(
      f'{type(error).__name__}: {error} (unexpected: --traceback shows where; '
      'please report it)'
    )


def fail(message: str) -> None:
  """Ends the program with one line."""
  print('error: ' + ' '.join(message.split()), file=sys.stderr)
  raise SystemExit(2)


def parse_flags(argv: list[str]) -> list[str]:
  """Parses the command line; a mistake is one line that says what is allowed.

  Returns:
    The arguments that are not flags.
  """
  try:
    rest = FLAGS(argv)
  except (KeyError, AttributeError) as error:
    # A config override of a field that the config does not have.
    fail(_unknown_field(argv) or str(error))
  except (ImportError, OSError) as error:
    # In the config file, or it cannot be read.
    fail(f'--config: {error}')
  except flags.Error as error:
    # An error inside the config file comes with its traceback as text.
    inner = re.findall(r'^\s*\w+Error: (.+)$', str(error), re.MULTILINE)
    fail(inner[-1] if inner else f'{error} (--help lists the flags)')
  if _CONFIG.value is None:
    fail(
      'Give --config=NAME or --config=FILE; known by name: '
      f'{", ".join(run_config.names())}.'
    )
  try:
    # A file that cannot be read is reported at the first use.
    _CONFIG.value.experiment  # noqa: B018
  except (OSError, AttributeError) as error:
    fail(f'--config: {error}')
  return rest


def _unknown_field(argv: list[str]) -> str:
  """Names the first override whose field is unknown, and the known ones."""
  plain = [arg for arg in argv if not arg.lstrip('-').startswith('config.')]
  FLAGS.unparse_flags()
  # ml_collections looks for overrides in sys.argv, whatever is parsed.
  given, sys.argv = sys.argv, plain
  try:
    FLAGS(plain)
  finally:
    sys.argv = given
  for arg in argv:
    match = re.fullmatch(r'--?config\.([\w.]+)(=.*)?', arg, re.DOTALL)
    if match and match[1] in run_config.RENAMED:
      return f'{run_config.unknown([match[1]])}.'
    node = _CONFIG.value
    path = 'config'
    for name in match[1].split('.') if match else ():
      if not hasattr(node, 'keys') or name not in node:
        allowed = sorted(node.keys()) if hasattr(node, 'keys') else ['(none)']
        return f'Unknown field {path}.{name}; {path} has: {", ".join(allowed)}.'
      node = node[name]
      path = f'{path}.{name}'
  return ''


def entry() -> None:
  """The command line's way in."""
  app.run(main, flags_parser=parse_flags)


if __name__ == '__main__':
  entry()
