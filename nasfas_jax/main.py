"""The command line.

  python -m nasfas_jax.main --config=search --workdir=runs/search

Parses the flags, renders the embedded dataset if it is missing, and makes one
call into the experiment that config.experiment names.
"""

if __name__ == '__main__':
  # Before the imports, which take seconds.
  from nasfas_jax import stopping

  stopping.quiet_imports()
  from nasfas_jax.ops.cpu import huge_pages

  huge_pages.restart_with_huge_pages()

import functools
import os
import pathlib
import re
import sys
from collections.abc import MutableMapping

import jax
from absl import app, flags, logging
from ml_collections.config_flags import config_flags

from nasfas_jax import (
  audit,
  compare_runs,
  demo,
  evaluate,
  hosts,
  list_protocols,
  predict,
  profiles,
  progress,
  records,
  remote,
  run_config,
  search,
  stopping,
  train,
)
from nasfas_jax import export as export_lib
from nasfas_jax.data import index, protocols
from nasfas_jax.ops.cpu import xla_options
from nasfas_jax.report import family_table


def judge(config, workdir: pathlib.Path) -> None:
  """Runs the experiment 'evaluate', which says when to prepare the data."""
  evaluate.evaluate(config, workdir, prepare_embedded)


def compare(config, workdir: pathlib.Path) -> None:
  """Runs the experiment 'compare', the only one that needs PyTorch.

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


def export(config, workdir: pathlib.Path) -> None:
  """Runs the experiment 'export'."""
  export_lib.export(config, workdir, prepare_embedded)


def calibrate(config, workdir: pathlib.Path) -> None:
  """Runs the experiment 'calibrate'; imported late, as 'study' is."""
  from nasfas_jax import calibrate as experiment

  # It writes into the run, which stays that of its owner.
  with remote.pushing(remote.local(config.checkpoint, write=True)):
    experiment.calibrate(config, workdir)


def study(config, workdir: pathlib.Path) -> None:
  """Runs the experiment 'study'; imported late, as SciPy takes a second."""
  from nasfas_jax.study import experiment

  experiment.study(config, workdir)


def check_study(config) -> None:
  """Checks the config of a study; imported late, as `study`."""
  from nasfas_jax.study import experiment

  experiment.check(config)


EXPERIMENTS = {
  'search': search.search,
  'train': train.train,
  'evaluate': judge,
  'predict': predict.predict,
  'export': export,
  'calibrate': calibrate,
  'demo': demo.demo,
  'report': compare_runs.report,
  'protocols': list_protocols.list_protocols,
  'audit': audit.audit,
  'study': study,
  'compare': compare,
}
# They make no run: no protocol chooses what they read.
WITHOUT_RUN = (
  'protocols',
  'predict',
  'calibrate',
  'demo',
  'report',
  'audit',
)
# They write no file of their own into a workdir.
WITHOUT_WORKDIR = tuple(name for name in WITHOUT_RUN if name != 'report')
# Their workdir may be in a bucket.
IN_BUCKETS = ('search', 'train', 'evaluate', 'export', 'report')
# They write checkpoints.
RESUMING = ('search', 'train', 'study')
# They heed SIGTERM themselves.
HEEDING = ('demo', 'study')
# They call `prepare_embedded` once they know that their checkpoint is sound.
PREPARING = ('evaluate', 'compare')
# They have steps, which --profile can trace.
PROFILED = ('search', 'train')
# What refuses a config before its data are rendered; `PREPARING` do so
# themselves.
CHECKS = {
  'search': search.check,
  'train': train.check,
  'study': check_study,
}
# Several hosts share their work; any other is for one process.
SHARED = ('search', 'train', 'evaluate')
# It is rendered and needs no licence, so a run makes it when it is missing.
EMBEDDED_DATASET = records.RENDERED_DATASET

FLAGS = flags.FLAGS
_CONFIG = config_flags.DEFINE_config_file(
  'config',
  None,
  'Config of the experiment, by name (search) or by file '
  '(configs/search.py). Variants follow a colon: search:debug,type.',
)
_WORKDIR = flags.DEFINE_string(
  'workdir',
  None,
  'Folder of the run, or gs://BUCKET/FOLDER. Default: runs/EXPERIMENT.',
)
_PROFILE = flags.DEFINE_string(
  'profile',
  '',
  'Steps to trace into WORKDIR/profile: a number of steps, such as 20, or the '
  'first and the last one, such as 20:30.',
)
_TRACEBACK = flags.DEFINE_bool(
  'traceback', False, 'Show the full traceback of an error.'
)
_CACHE = flags.DEFINE_string(
  'compilation_cache',
  '~/.cache/nasfas_jax/xla',
  "Folder of XLA's persistent compilation cache. '' turns it off.",
)
_PRECISION = flags.DEFINE_enum(
  'matmul_precision',
  '',
  ['', 'tensorfloat32', 'float32', 'bfloat16'],
  "How an accelerator multiplies float32 numbers. '': tensorfloat32 on a GPU, "
  "else JAX's own default. Without effect on a CPU and on bfloat16.",
)
_HOSTS = flags.DEFINE_string(
  'hosts',
  'auto',
  'Processes of the run: auto (as Slurm, Kubernetes or Cloud TPU say, else '
  'one), off (one), or NAME:PORT of host 0.',
)
_NUM_HOSTS = flags.DEFINE_integer(
  'num_hosts', None, 'Number of processes, with --hosts=NAME:PORT.'
)
_HOST_ID = flags.DEFINE_integer(
  'host_id', None, 'Number of this process, from 0, with --hosts=NAME:PORT.'
)
_HOST_TIMEOUT = flags.DEFINE_integer(
  'host_timeout',
  60,
  'Seconds after which the others give up a host that is silent.',
  lower_bound=1,
)


class _ConfigParser(config_flags.ConfigFileFlagParser):
  """Also accepts the name of an installed config."""

  def parse(self, path):
    return super().parse(run_config.locate(path))


FLAGS['config'].parser = _ConfigParser('config')


def default_workdir(config) -> str | pathlib.Path:
  """The workdir of a run without --workdir: a path, or an address."""
  if config.experiment == 'evaluate' and config.scores:
    return pathlib.Path('runs') / f'evaluate-{pathlib.Path(config.scores).stem}'
  if config.experiment == 'evaluate' and config.checkpoint:
    name = config.protocol.replace('/', '-') or 'own'
    return remote.join(config.checkpoint, 'evaluate', name)
  if config.experiment == 'export' and config.checkpoint:
    return remote.join(config.checkpoint, 'export')
  if config.experiment == 'train' and config.model != 'genotype':
    return pathlib.Path('runs') / f'train-{config.model}'
  return pathlib.Path('runs') / config.experiment


def prepare_embedded(config) -> None:
  """Renders the embedded dataset if the protocol needs it and it is missing.

  Raises:
    ValueError: for an unknown protocol, or a config that the experiment would
      refuse.
  """
  protocol = protocols.get_protocol(config.protocol)
  folder = index.resolve_data_dir(config.data.data_dir)
  builder_config = config.data.builder_config
  # A bucket is not written: the experiment says how to copy a dataset there.
  if EMBEDDED_DATASET not in protocol.datasets or remote.is_remote(folder):
    return

  def render() -> None:
    if index.find_dataset(
      folder, EMBEDDED_DATASET, builder_config, protocol.version
    ):
      return
    if config.experiment in CHECKS:
      CHECKS[config.experiment](config)
    from nasfas_datasets import prepare

    progress.say(f'Preparing {EMBEDDED_DATASET} in {folder}')
    with progress.lazy_bar('Preparing') as report:
      prepare.prepare(
        EMBEDDED_DATASET,
        config=builder_config or None,
        version=protocol.version or None,
        data_dir=folder,
        progress=report,
      )

  # Host 0 before the others, since some shared file systems have no locks. On a
  # machine with a folder of its own one of its hosts then renders.
  hosts.first(render)
  render()


def run(config, workdir: pathlib.Path, profile: str = '') -> None:
  """Runs the experiment of a config.

  Args:
    config: of the experiment.
    workdir: folder of its files.
    profile: steps to trace, see `profiles.parse`; '': none.

  Raises:
    ValueError: for a bad config; one line, which says what is allowed.
  """
  if config.experiment not in EXPERIMENTS:
    raise ValueError(
      f'config.experiment is {config.experiment!r}; allowed: '
      f'{", ".join(EXPERIMENTS)}.'
    )
  run_config.check_fields(config)
  if jax.process_count() > 1 and config.experiment not in SHARED:
    raise ValueError(
      f'config.experiment is {config.experiment!r}; allowed with several '
      f'hosts: {", ".join(SHARED)}. --hosts=off runs it in one process.'
    )
  traced = {'profile': profiles.parse(profile)} if profile else {}
  if traced and config.experiment not in PROFILED:
    raise ValueError(
      f'--profile is given with config.experiment {config.experiment!r}; '
      f'allowed with: {", ".join(PROFILED)}.'
    )
  if config.experiment in WITHOUT_RUN:
    if config.experiment == 'audit':
      prepare_embedded(config)
    EXPERIMENTS[config.experiment](config, workdir)
    return
  if config.experiment == 'export':
    # Its protocol is that of its checkpoint.
    EXPERIMENTS[config.experiment](config, workdir)
    progress.say(f'Everything is in {workdir}')
    return
  names = family_table.members(config.protocol)
  if config.scores or (
    config.experiment == 'evaluate' and not config.checkpoint
  ):
    # No protocol chooses the clips of scores. `evaluate` says what is missing.
    names = []
  if names and config.protocol not in protocols.all_protocols():
    run_family(config, workdir, names, traced)
  else:
    if config.experiment not in PREPARING:
      prepare_embedded(config)
    EXPERIMENTS[config.experiment](config, workdir, **traced)
  progress.say(f'Everything is in {workdir}')


def run_family(
  config, workdir: pathlib.Path, names: list[str], traced: dict[str, object]
) -> None:
  """Runs an experiment on every protocol of a family and prints their table.

  Training writes one subfolder of `workdir` for each protocol. Evaluation reads
  the runs from the same subfolders of config.checkpoint; if config.checkpoint
  is itself a run, it evaluates that run on every protocol.

  Args:
    config: of the experiment; config.protocol is the family.
    workdir: parent of the protocols' folders.
    names: the protocols of the family.
    traced: further arguments of the experiment.

  Raises:
    ValueError: for a search or a comparison, if no protocol has a run, or if
      the run was trained on test subjects of every protocol.
  """
  if config.experiment in ('search', 'compare'):
    raise ValueError(
      f'config.protocol is {config.protocol!r}, a family; the experiment '
      f'{config.experiment!r} takes one protocol: {", ".join(names)}.'
    )
  if config.experiment == 'train' and config.train.num_seeds > 1:
    raise ValueError(
      f'config.train.num_seeds is {config.train.num_seeds}; allowed with '
      f'config.protocol {config.protocol!r}, a family: 1. Train one protocol '
      f'at a time: {", ".join(names)}.'
    )
  results, refused = {}, None
  for name in names:
    one = config.copy_and_resolve_references()
    one.protocol = name
    if config.experiment == 'evaluate':
      whole = remote.local(config.checkpoint)
      source = whole
      if not (source / 'config.json').exists():
        source = family_table.folder(source, name)
      if not (source / 'config.json').exists():
        progress.say(f'{name}: no run in {source}')
        continue
      inside = source.relative_to(whole).parts
      one.checkpoint = str(remote.join(config.checkpoint, *inside))
    if config.experiment not in PREPARING:
      prepare_embedded(one)
    folder = family_table.folder(workdir, name)
    try:
      EXPERIMENTS[config.experiment](one, folder, **traced)
    except evaluate.SubjectsSeen as error:
      # One run on all protocols: it may be judged on the others.
      refused = error
      progress.say(f'{name} is left out. {error}')
      continue
    results[name] = hosts.first(functools.partial(family_table.read, folder))
  if refused and not results:
    raise refused
  if not results:
    raise ValueError(
      f'config.checkpoint {config.checkpoint!r} holds no run of the family '
      f'{config.protocol!r}. Train them first, with --config.protocol='
      f'{config.protocol}.'
    )
  progress.say(
    'Test results in percent: mean ± standard deviation over the protocols of '
    'a row. Figures marked "published" were measured by others.'
    + family_table.note(results)
  )
  progress.say(family_table.table(results))


def main(argv) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unknown arguments: {argv[1:]}')
  # At level INFO Orbax logs every stage of every save.
  logging.set_verbosity(logging.WARNING)
  xla_options.prefer_own_convolutions()
  config = _CONFIG.value
  address = _WORKDIR.value or default_workdir(config)
  # Of a run in a bucket, until its mirror is there, nothing.
  workdir = pathlib.Path(address)

  def stopped():
    return f'\nStopped by SIGTERM. {going_on(config, workdir)}'

  try:
    hosts.start(
      _HOSTS.value,
      _NUM_HOSTS.value,
      _HOST_ID.value,
      timeout=_HOST_TIMEOUT.value,
    )
    if config.experiment not in HEEDING:
      # After the start of jax.distributed, which has a handler too.
      chain = jax.distributed.is_initialized()
      stopping.sigterm.start(stopped, chain=chain)
    share_memory(config, os.environ)
    check_devices()
    hosts.meet()
    hosts.check_same('--workdir', str(workdir))
    jax.config.update(
      'jax_default_matmul_precision',
      choose_precision(
        _PRECISION.value,
        jax.config.jax_default_matmul_precision,
        jax.default_backend(),
      ),
    )
    keep_compiled_programs(_CACHE.value)
    workdir = open_workdir(config, address)
    with remote.pushing(workdir):
      run(config, workdir, _PROFILE.value)
    hosts.finish()
  except (ValueError, OSError, FloatingPointError) as error:
    hosts.check_loss(error)
    if _TRACEBACK.value:
      raise
    fail(f'{error} (--traceback shows where)')
  except KeyboardInterrupt:
    if _TRACEBACK.value:
      raise
    print(f'\nStopped. {going_on(config, workdir)}', file=sys.stderr)
    raise SystemExit(stopping.STATUS) from None
  except stopping.Preempted:
    hosts.finish()
    print(stopped(), file=sys.stderr)
    raise SystemExit(stopping.PREEMPTED) from None
  except Exception as error:
    # A bug: the line also gives the exception's type and asks for a report.
    hosts.check_loss(error)
    if _TRACEBACK.value:
      raise
    fail(
      f'{type(error).__name__}: {error} (unexpected: --traceback shows where; '
      'please report it)'
    )


def going_on(config, workdir: pathlib.Path) -> str:
  """What the same command will do after a stop."""
  if config.experiment not in RESUMING or not workdir.exists():
    return 'The same command starts again.'
  return remote.shown(
    f'The same command resumes from the last checkpoint in {str(workdir)!r}.'
  )


def open_workdir(config, address: str | os.PathLike[str]) -> pathlib.Path:
  """The folder of this machine for a workdir, see `remote`.

  Raises:
    ValueError: for an experiment whose workdir cannot be in a bucket.
    OSError: if the bucket cannot be reached.
  """
  if not remote.is_remote(address) or config.experiment in WITHOUT_WORKDIR:
    return pathlib.Path(address)
  if config.experiment not in IN_BUCKETS:
    raise ValueError(
      f'--workdir is {str(address)!r}; allowed in a bucket for the experiments '
      f'{", ".join(IN_BUCKETS)}, not for {config.experiment!r}.'
    )
  # Of several hosts, the first writes.
  return remote.local(address, claim=jax.process_index() == 0)


def check_devices() -> None:
  """Raises ValueError if JAX finds no device of the wanted kind."""
  try:
    jax.devices()
  except (RuntimeError, AssertionError) as error:
    # JAX fails an assertion where the wanted kind has no plugin at all.
    wanted = os.environ.get('JAX_PLATFORMS', '')
    reason = str(error).strip().splitlines()[:1]
    raise ValueError(
      f'JAX finds no device: JAX_PLATFORMS is {wanted!r}'
      f'{"".join(f" ({line})" for line in reason)}. Install the jax of that '
      'device, or set JAX_PLATFORMS=cpu.'
    ) from error


def share_memory(config, environ: MutableMapping[str, str]) -> None:
  """Leaves room on a GPU for PyTorch, whose steps a comparison runs there.

  JAX would take most of the memory when it starts. A value that the user has
  set stays.
  """
  if config.experiment == 'compare':
    environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')


def choose_precision(given: str, of_jax: str | None, platform: str):
  """The precision of float32 products, as a value of JAX's configuration.

  Said rather than left to a default that may change: on a GPU, TF32.

  Args:
    given: --matmul_precision.
    of_jax: what JAX has, from the environment.
    platform: of JAX's devices.

  Returns:
    A value of jax_default_matmul_precision; None is the platform's default.
  """
  if given or of_jax:
    return given or of_jax
  return 'tensorfloat32' if platform == 'gpu' else None


def keep_compiled_programs(folder: str) -> None:
  """Turns on XLA's persistent compilation cache, unless `folder` is ''."""
  if not folder:
    return
  try:
    cache = pathlib.Path(folder).expanduser()
  except RuntimeError:
    # A user without a home, as in some containers: nothing else needs one.
    progress.say(
      f'Compiled programs are not kept: {folder!r} needs a home folder. Set '
      'HOME, or give --compilation_cache=FOLDER.'
    )
    return
  jax.config.update('jax_compilation_cache_dir', str(cache))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 1.0)
  # A GPU's choices of algorithms lie beside the programs: a program that is new
  # shares most of its convolutions with those before it.
  jax.config.update(
    'jax_persistent_cache_enable_xla_caches',
    'xla_gpu_per_fusion_autotune_cache_dir',
  )


def fail(message: str) -> None:
  """Prints an error as one line and exits with status 2."""
  message = remote.shown(' '.join(message.split()))
  print(f'error{hosts.label()}: {message}', file=sys.stderr)
  raise SystemExit(2)


def parse_flags(argv: list[str]) -> list[str]:
  """Parses the command line; exits with one line for a mistake in it.

  Returns:
    The positional arguments, the program's name first.
  """
  try:
    rest = FLAGS(argv)
  except (KeyError, AttributeError) as error:
    # An override of a field that the config does not have.
    fail(_unknown_field(argv) or str(error))
  except (ImportError, OSError) as error:
    # Raised in the config file, or the file cannot be read.
    fail(f'--config: {error}')
  except flags.Error as error:
    # An error raised in the config file arrives as the text of its traceback.
    inner = re.findall(r'^\s*\w+Error: (.+)$', str(error), re.MULTILINE)
    fail(inner[-1] if inner else f'{error} (--help lists the flags)')
  if _CONFIG.value is None:
    fail(
      'Give --config=NAME or --config=FILE; known by name: '
      f'{", ".join(run_config.names())}.'
    )
  try:
    # absl reports a config file that it cannot read at the first access.
    _CONFIG.value.experiment  # noqa: B018
  except (OSError, AttributeError) as error:
    fail(f'--config: {error}')
  return rest


def _unknown_field(argv: list[str]) -> str:
  """The message for the first override of an unknown field; '' without one."""
  plain = [arg for arg in argv if not arg.lstrip('-').startswith('config.')]
  FLAGS.unparse_flags()
  # ml_collections reads the overrides from sys.argv, not from what is parsed.
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
  """What `python -m nasfas_jax.main` does."""
  with stopping.ending_at_once(), hosts.ending_at_once():
    app.run(main, flags_parser=parse_flags)


if __name__ == '__main__':
  entry()
