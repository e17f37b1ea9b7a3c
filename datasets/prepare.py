"""Prepares a dataset: writes its shards and its index.

python -m nasfas_datasets.prepare --dataset=synthetic_fas
python -m nasfas_datasets.prepare --dataset=manifest_fas --manual_dir=VIDEOS
python -m nasfas_datasets.prepare --dataset=oulu_npu --manual_dir=OULU --list
  Only prints what the folder holds, as one JSON object; decodes nothing.
python -m nasfas_datasets.prepare --dataset=oulu_npu --manual_dir=OULU --beam
  On Apache Beam (extra [beam]), on a file system that all workers share.
"""

if __name__ == '__main__':
  # Before the imports, which take seconds.
  from nasfas_jax import remote, stopping

  stopping.quiet_imports()

import contextlib
import errno
import io
import json
import os
import pathlib
import sys
from collections.abc import Callable, Sequence

import tensorflow_datasets as tfds
from absl import app, flags, logging

from nasfas_datasets import (
  beam_build,
  build_lock,
  clip_config,
  fas_builder,
  video_builder,
)
from nasfas_jax import progress as progress_lib
from nasfas_jax import remote, stopping

Progress = Callable[[int, int], None]


def _make_builder(
  name, config, data_dir, settings, version=None, **options
) -> fas_builder.FasBuilder:
  builder_class = fas_builder.builder_class(name)
  is_video = issubclass(builder_class, video_builder.VideoBuilder)
  if not is_video:
    if options['use_beam']:
      raise ValueError(f'Dataset {name!r} is not built on Apache Beam.')
    for flag, given in (
      ('workers', options['num_workers'] != 1),
      ('allow_missing', options['allow_missing']),
      ('max_bad_share', options.get('max_bad_share') is not None),
      ('face_models', options.get('face_models') is not None),
    ):
      if given:
        raise ValueError(f'Dataset {name!r} is rendered: it has no --{flag}.')
    for option in ('num_workers', 'allow_missing', 'use_beam'):
      del options[option]
  names = _check_config(builder_class, config)
  settings = {k: v for k, v in settings.items() if v is not None}
  if settings:
    config = builder_class.BUILDER_CONFIGS[names.index(config) if config else 0]
    if not isinstance(config, clip_config.ClipConfig):
      raise ValueError(
        f'Dataset {name!r} is not made of videos: it has no '
        f'{", ".join(settings)}.'
      )
    config = clip_config.with_settings(config, **settings)
  default = os.environ.get('TFDS_DATA_DIR', '~/tensorflow_datasets')
  if remote.is_remote(data_dir or default):
    raise ValueError(
      f'--data_dir is {str(data_dir or default)!r}; datasets are prepared in a '
      'folder of this machine. Copy it then: gcloud storage cp --recursive '
      f'FOLDER/{name} {data_dir or default}/'
    )
  data_dir = os.path.expanduser(default if data_dir is None else data_dir)
  if data_dir.startswith('~'):
    raise ValueError(
      f'{data_dir!r} needs a home folder, and there is none: give '
      '--data_dir=FOLDER.'
    )
  _check_name('data_dir', data_dir)
  if version is not None:
    known = builder_class.versions_of(config)
    if version not in known:
      raise ValueError(
        f'Unknown version {version!r} of dataset {name!r}'
        f'{f", config {config}" if config else ""}; allowed: '
        f'{", ".join(known)}.'
      )
  return builder_class(
    config=config, data_dir=data_dir, version=version, **options
  )


def _check_config(
  builder_class: type[fas_builder.FasBuilder], config: str | None
) -> list[str]:
  """The names of a builder's configs.

  Raises:
    ValueError: if `config` is neither None nor one of them.
  """
  names = [known.name for known in builder_class.BUILDER_CONFIGS]
  if config is not None and config not in names:
    raise ValueError(
      f'Unknown config {config!r} of dataset {builder_class.name!r}; allowed: '
      f'{", ".join(names) or "none"}.'
    )
  return names


def _check_name(flag: str, path: str | pathlib.Path) -> None:
  """Raises ValueError unless a path is UTF-8, as the writer of shards needs."""
  try:
    str(path).encode()
  except UnicodeEncodeError as error:
    raise ValueError(
      f'--{flag}: {str(path)!r} is not UTF-8; rename the folder.'
    ) from error


def _folder(path: str | pathlib.Path) -> pathlib.Path:
  """A folder that the user names, which must be there."""
  folder = pathlib.Path(path).expanduser()
  if not folder.is_dir():
    raise FileNotFoundError(
      f'--manual_dir: there is no folder {str(folder)!r}.'
    )
  _check_name('manual_dir', folder.resolve())
  return folder


def list_clips(
  name: str, manual_dir: str | pathlib.Path, config: str | None = None
) -> dict[str, object]:
  """Summarises what a dataset's folder holds, by the names of its files.

  Args:
    name: of the dataset.
    manual_dir: its folder.
    config: name of the builder config, which can select a layout.

  Returns:
    JSON content, see `listing.Listing.summary`.

  Raises:
    ValueError: for an unknown dataset or config, or a dataset that is not a
      folder of videos.
    FileNotFoundError: if its folders are missing.
  """
  builder_class = fas_builder.builder_class(name)
  _check_videos(builder_class)
  _check_config(builder_class, config)
  found = builder_class.list_clips(_folder(manual_dir), config or '')
  return {'dataset': name, **found.summary()}


def _check_videos(builder_class: type[fas_builder.FasBuilder]) -> None:
  """Raises ValueError for a dataset that is not made of videos."""
  if not issubclass(builder_class, video_builder.VideoBuilder):
    raise ValueError(
      f'Dataset {builder_class.name!r} has no folder of videos to list.'
    )


def prepare(
  name: str,
  *,
  config: str | None = None,
  version: str | None = None,
  data_dir: str | pathlib.Path | None = None,
  manual_dir: str | pathlib.Path | None = None,
  progress: Progress | None = None,
  num_workers: int = 1,
  allow_missing: bool = False,
  max_bad_share: float | None = None,
  use_beam: bool = False,
  beam_options: Sequence[str] = (),
  face_models: str | pathlib.Path | None = None,
  replace: bool = False,
  **settings,
) -> pathlib.Path:
  """Prepares a dataset as far as it is missing; says on stderr what came out.

  Of two calls at once for the same dataset, the second waits and takes what the
  first one made. While it builds, the disk holds at most 1.3 times the result;
  with `replace` the old one too, which stays if the build fails.

  Args:
    name: of the dataset.
    config: name of the builder config; None: the first.
    version: of the dataset, such as 2.0.0; None: the newest.
    data_dir: folder of prepared datasets; None: the default of TFDS.
    manual_dir: folder of files that the user has to get.
    progress: called with (clips done, total) as clips are made.
    num_workers: processes that decode videos.
    allow_missing: build even if clips of the dataset are missing.
    max_bad_share: the largest share of skipped clips; None: the config's.
    use_beam: decode videos on Apache Beam, see `beam_build`.
    beam_options: Beam's own options, such as --runner=FlinkRunner.
    face_models: folder of the models that faces='detected' and depth='mesh'
      need; None: the default folder of `fetch_face_models`.
    replace: build again what is prepared, from whatever files or settings.
    **settings: some of `clip_config.SETTINGS`; None keeps the config's value.
      Changed settings change the name of the config.

  Returns:
    The folder of the shards and of `records.INDEX_FILE`.

  Raises:
    ValueError: for an unknown dataset or config, which lists the known ones; if
      too many clips are bad; or if the dataset is prepared from other files or
      settings, unless `replace`.
    FileNotFoundError: if files of the dataset are missing.
  """
  out = sys.stdout

  def report(done: int, total: int) -> None:
    with contextlib.redirect_stdout(out):
      progress(done, total)

  def make():
    return _make_builder(
      name,
      config,
      data_dir,
      settings,
      version,
      face_models=face_models,
      progress=None if progress is None else report,
      max_bad_share=max_bad_share,
      num_workers=num_workers,
      allow_missing=allow_missing,
      use_beam=use_beam,
    )

  builder = make()
  chosen = builder.builder_config
  if face_models is not None and not clip_config.needs_face_models(chosen):
    raise ValueError(
      f'--face_models is {str(face_models)!r}; allowed with '
      '--faces=detected or --depth=mesh, which need them.'
    )
  root = None
  if manual_dir is not None:
    if not isinstance(builder, video_builder.VideoBuilder):
      raise ValueError(f'Dataset {name!r} is rendered: it has no --manual_dir.')
    root = _folder(manual_dir)
  folder = pathlib.Path(builder.data_dir)
  if _is_current(builder, root, replace):
    progress_lib.say(f'Already prepared: {folder}')
    for line in builder.form_lines():
      progress_lib.say(line)
    return folder
  with build_lock.alone(
    folder.parent,
    lambda: progress_lib.say(f'Waiting for another build of {folder} ...'),
  ):
    build_lock.put_back(folder)
    # Another process may have built it meanwhile.
    builder = make()
    if _is_current(builder, root, replace):
      return folder
    build_lock.remove_leftovers(folder.parent, str(builder.version))
    if folder.exists() and (replace or _differences(builder, root)):
      if root is not None and not use_beam:
        # The old one stays until this is done.
        builder.decode(root)
      with build_lock.in_place_of(folder):
        builder = make()
        _build(builder, root, beam_options if use_beam else None)
    else:
      _build(builder, root, beam_options if use_beam else None)
  for line in builder.summary(root):
    progress_lib.say(line)
  return folder


def _differences(builder, root: pathlib.Path | None) -> list[str]:
  """How what is prepared differs from what the builder would make."""
  with _quiet():
    return builder.difference(root)


def _is_current(builder, root: pathlib.Path | None, replace: bool) -> bool:
  """Whether the dataset is prepared, from the same files and settings.

  Raises:
    ValueError: if it is prepared from others, unless `replace`.
  """
  folder = pathlib.Path(builder.data_dir)
  if replace or not folder.exists():
    return False
  found = _differences(builder, root)
  if found:
    raise ValueError(
      f'{str(folder)!r} is already prepared, but from other data: '
      f'{"; ".join(found)}. --replace builds it again; --data_dir names '
      'another place.'
    )
  return builder.index_path.exists()


def _build(builder, root, beam_options) -> None:
  """Builds a dataset without a word on stdout."""
  download_config = tfds.download.DownloadConfig(
    manual_dir=root,
    beam_options=None
    if beam_options is None
    else beam_build.options(beam_options),
  )
  tfds.disable_progress_bar()
  with _quiet():
    builder.download_and_prepare(download_config=download_config)


def _quiet():
  """TFDS prints to stdout."""
  return contextlib.redirect_stdout(io.StringIO())


def _define_flags() -> None:
  # Not at import: nasfas_jax.main, which imports this, has flags of its own.
  flags.DEFINE_string('dataset', '', 'Name of the dataset.')
  flags.DEFINE_string(
    'config', None, 'Builder config, such as tiny; default: the first.'
  )
  flags.DEFINE_string('version', None, 'Version of the dataset, such as 2.0.0.')
  flags.DEFINE_string(
    'data_dir',
    None,
    'Folder of prepared datasets. Default: $TFDS_DATA_DIR or '
    '~/tensorflow_datasets.',
  )
  flags.DEFINE_string(
    'manual_dir', None, 'Folder of files that you have to get yourself.'
  )
  flags.DEFINE_integer(
    'workers', 1, 'Processes that decode videos.', lower_bound=1
  )
  flags.DEFINE_bool(
    'allow_missing', False, 'Build even if clips of the dataset are missing.'
  )
  flags.DEFINE_float(
    'margin',
    None,
    'Side of the stored crop over that of the face box. Default: 1.6.',
  )
  flags.DEFINE_enum(
    'border',
    None,
    clip_config.BORDERS,
    "The pixels past a frame's border. Default: replicate.",
  )
  flags.DEFINE_integer(
    'train_frames', None, 'Use only this many first frames of training clips.'
  )
  flags.DEFINE_float(
    'max_bad_share', None, 'The largest share of skipped clips, 0 to 1.'
  )
  flags.DEFINE_enum(
    'faces',
    None,
    clip_config.FACES,
    'Face boxes of the dataset, or of a face detector. Default: shipped.',
  )
  flags.DEFINE_enum(
    'depth',
    None,
    clip_config.DEPTHS,
    'Depth maps from the face box or a dense face mesh. Default: ellipse.',
  )
  flags.DEFINE_string(
    'face_models', None, 'Folder of the models from fetch_face_models.'
  )
  flags.DEFINE_bool(
    'beam', False, 'Decode on Apache Beam instead of --workers processes.'
  )
  flags.DEFINE_multi_string(
    'beam_option',
    [],
    "One of Beam's own options, such as --beam_option=--runner=FlinkRunner. "
    'Can be repeated.',
  )
  flags.DEFINE_enum(
    'missing_boxes',
    None,
    clip_config.MISSING_BOXES,
    'A clip without a face box among clips that have theirs is left out, or '
    'its whole frame is taken. Default: skip.',
  )
  flags.DEFINE_bool('replace', False, 'Build again what is already prepared.')
  flags.DEFINE_bool('traceback', False, 'Show the full traceback of an error.')
  flags.DEFINE_bool('list', False, 'Only print what the folder holds, as JSON.')


def main(argv) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unknown arguments: {argv[1:]}')
  logging.set_verbosity(logging.WARNING)
  options = flags.FLAGS
  settings = {name: options[name].value for name in clip_config.SETTINGS}
  guarded(
    lambda: _run(options, settings),
    lambda: how_to_go_on(
      options.dataset,
      options.config,
      options.data_dir,
      version=options.version,
      **settings,
    ),
    traceback=options.traceback,
  )


def guarded(
  work: Callable[[], None],
  going_on: Callable[[], str],
  *,
  traceback: bool = False,
) -> None:
  """Does some work; a mistake or a fault ends the process with one line.

  Args:
    work: what to do.
    going_on: says what the same command will do after a stop.
    traceback: let exceptions through.

  Raises:
    SystemExit: after an exception.
  """
  try:
    work()
  except KeyboardInterrupt:
    if traceback:
      raise
    print(f'\nStopped. {going_on()}', file=sys.stderr)
    raise SystemExit(stopping.STATUS) from None
  except Exception as error:
    if traceback:
      raise
    text = str(error)
    if _is_full(error):
      text = (
        f'the disk is full: {text}. Free some space, or name another disk by '
        f'--data_dir. {going_on()}'
      )
    elif not isinstance(error, ValueError | OSError | ImportError):
      # A bug, or what a library says of the machine.
      text = (
        f'{type(error).__name__}: {text} (unexpected: --traceback shows where; '
        'please report it)'
      )
    sys.exit('error: ' + ' '.join(text.split()))


def _is_full(error: BaseException | None) -> bool:
  """Whether a full disk or quota is behind an error."""
  while error is not None:
    if getattr(error, 'errno', None) in (errno.ENOSPC, errno.EDQUOT):
      return True
    # The writer of the shards has no error number.
    if os.strerror(errno.ENOSPC) in str(error):
      return True
    error = error.__cause__ or error.__context__
  return False


def how_to_go_on(name, config, data_dir, version=None, **settings) -> str:
  """What happens if the command is given again; see `prepare`."""
  kept = 0
  with contextlib.suppress(ValueError, OSError):
    builder = _make_builder(
      name,
      config,
      data_dir,
      settings,
      version,
      num_workers=1,
      allow_missing=False,
      use_beam=False,
    )
    kept = getattr(builder, 'num_finished', 0)
  if kept:
    return f'The same command goes on: {kept} finished clips are kept.'
  return 'The same command starts again.'


def _run(options, settings) -> None:
  """Lists or prepares, and prints the result."""
  if options.beam_option and not options.beam:
    raise ValueError(
      f'--beam_option is {options.beam_option}; allowed with --beam.'
    )
  if options.beam and options.workers != 1:
    raise ValueError(
      f'--workers is {options.workers}; allowed with --beam, which has workers '
      'of its own: 1.'
    )
  if options.list:
    if options.manual_dir is None:
      _check_videos(fas_builder.builder_class(options.dataset))
      raise ValueError('--list needs --manual_dir.')
    found = list_clips(options.dataset, options.manual_dir, options.config)
    print(json.dumps(found, indent=2))
    return
  with progress_lib.lazy_bar('Preparing') as report:
    folder = prepare(
      options.dataset,
      config=options.config,
      version=options.version,
      data_dir=options.data_dir,
      manual_dir=options.manual_dir,
      progress=report,
      num_workers=options.workers,
      allow_missing=options.allow_missing,
      max_bad_share=options.max_bad_share,
      use_beam=options.beam,
      beam_options=options.beam_option,
      face_models=options.face_models,
      replace=options.replace,
      **settings,
    )
  print(folder)


if __name__ == '__main__':
  _define_flags()
  with stopping.ending_at_once():
    app.run(main)
