"""Prepares one dataset: writes its shards and its index.

python -m nasfas_datasets.prepare --dataset=synthetic_fas
python -m nasfas_datasets.prepare --dataset=manifest_fas --manual_dir=VIDEOS
python -m nasfas_datasets.prepare --dataset=oulu_npu --manual_dir=OULU --list
  decodes nothing and prints what is there as one JSON object.
python -m nasfas_datasets.prepare --dataset=oulu_npu --manual_dir=OULU --beam
  On Apache Beam (extra [beam]), on a file system that all workers share.
"""

import contextlib
import io
import json
import pathlib
import sys
from collections.abc import Callable, Sequence

import tensorflow_datasets as tfds
from absl import app, flags, logging

from nasfas_datasets import (
  beam_build,
  clip_config,
  fas_builder,
  video_builder,
)
from nasfas_jax import progress as progress_lib

Progress = Callable[[int, int], None]

# Readers split the records of a dataset, not its files, evenly over any number
# of hosts; shards are small so that many hosts do not all read the same file.
MIN_SHARD_BYTES = 16 << 20


def _make_builder(
  name, config, data_dir, settings, **options
) -> fas_builder.FasBuilder:
  builder_class = fas_builder.builder_class(name)
  is_video = issubclass(builder_class, video_builder.VideoBuilder)
  if not is_video:
    if options['use_beam']:
      raise ValueError(f'Dataset {name!r} is not built on Apache Beam.')
    for option in ('num_workers', 'allow_missing', 'use_beam'):
      del options[option]
  names = [c.name for c in builder_class.BUILDER_CONFIGS]
  if config is not None and config not in names:
    raise ValueError(
      f'Unknown config {config!r} of dataset {name!r}; allowed: '
      f'{", ".join(names) or "none"}.'
    )
  settings = {k: v for k, v in settings.items() if v is not None}
  if settings:
    config = builder_class.BUILDER_CONFIGS[names.index(config) if config else 0]
    if not isinstance(config, clip_config.ClipConfig):
      raise ValueError(
        f'Dataset {name!r} is not made of videos: it has no '
        f'{", ".join(settings)}.'
      )
    config = clip_config.with_settings(config, **settings)
  if data_dir is not None:
    data_dir = pathlib.Path(data_dir).expanduser()
  return builder_class(config=config, data_dir=data_dir, **options)


def list_clips(
  name: str, manual_dir: str | pathlib.Path, config: str | None = None
) -> dict[str, object]:
  """What a dataset's folder holds, by its names alone: plain JSON content.

  Args:
    name: of the dataset.
    manual_dir: its folder.
    config: name of the builder config, which may tell the layout.

  Raises:
    ValueError: if there is no such dataset, or it is not a folder of videos.
    FileNotFoundError: if its folders are missing.
  """
  builder_class = fas_builder.builder_class(name)
  if not issubclass(builder_class, video_builder.VideoBuilder):
    raise ValueError(f'Dataset {name!r} has no folder of videos to list.')
  found = builder_class.list_clips(
    pathlib.Path(manual_dir).expanduser(), config or ''
  )
  return {'dataset': name, **found.summary()}


def prepare(
  name: str,
  *,
  config: str | None = None,
  data_dir: str | pathlib.Path | None = None,
  manual_dir: str | pathlib.Path | None = None,
  progress: Progress | None = None,
  num_workers: int = 1,
  allow_missing: bool = False,
  max_bad_share: float | None = None,
  use_beam: bool = False,
  beam_options: Sequence[str] = (),
  face_models: str | pathlib.Path | None = None,
  **settings,
) -> pathlib.Path:
  """Prepares a dataset; does only what is missing, and prints nothing.

  Args:
    name: of the dataset.
    config: name of the builder config; None is the first.
    data_dir: where datasets are kept; None is the default of TFDS.
    manual_dir: folder of files that the user got by hand.
    progress: called with (clips done, clips in all) as clips are made.
    num_workers: processes that decode videos.
    allow_missing: build although clips that the dataset should hold are
      missing.
    max_bad_share: share of clips that may be skipped; None is the config's.
    use_beam: decode videos on Apache Beam, see `beam_build`.
    beam_options: Beam's own options, such as --runner=FlinkRunner.
    face_models: folder of the models that faces='detected' and depth='mesh'
      need; None is where `fetch_face_models` puts them.
    **settings: `clip_config.SETTINGS`; None is the config's. Others make a
      config of another name.

  Returns:
    The folder of the shards and of `records.INDEX_FILE`.

  Raises:
    ValueError: if there is no such dataset or config; names those there are.
    FileNotFoundError: if files that the dataset needs are missing.
  """
  out = sys.stdout

  def report(done: int, total: int) -> None:
    with contextlib.redirect_stdout(out):
      progress(done, total)

  builder = _make_builder(
    name,
    config,
    data_dir,
    settings,
    face_models=face_models,
    progress=None if progress is None else report,
    max_bad_share=max_bad_share,
    num_workers=num_workers,
    allow_missing=allow_missing,
    use_beam=use_beam,
  )
  download_config = tfds.download.DownloadConfig(
    manual_dir=manual_dir and pathlib.Path(manual_dir).expanduser(),
    beam_options=beam_build.options(beam_options) if use_beam else None,
    min_shard_size=MIN_SHARD_BYTES,
  )
  tfds.disable_progress_bar()
  with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints to it.
    builder.download_and_prepare(download_config=download_config)
  return pathlib.Path(builder.data_dir)


def _define_flags() -> None:
  # Not at import: nasfas_jax.main, which imports this, has flags of its own.
  flags.DEFINE_string('dataset', '', 'Name of the dataset.')
  flags.DEFINE_string(
    'config', None, 'Builder config, such as tiny; default: the first.'
  )
  flags.DEFINE_string(
    'data_dir',
    None,
    'Where datasets are kept; default: $TFDS_DATA_DIR or '
    '~/tensorflow_datasets.',
  )
  flags.DEFINE_string(
    'manual_dir', None, 'Folder of files that you got by hand.'
  )
  flags.DEFINE_integer(
    'workers', 1, 'Processes that decode videos.', lower_bound=1
  )
  flags.DEFINE_bool(
    'allow_missing', False, 'Build although clips of the dataset are missing.'
  )
  flags.DEFINE_float(
    'margin', None, 'Side of the stored crop over that of the face; 1.6.'
  )
  flags.DEFINE_enum(
    'border',
    None,
    clip_config.BORDERS,
    "What stands past a frame's border; replicate.",
  )
  flags.DEFINE_integer(
    'train_frames', None, 'Read training clips up to so many frames only.'
  )
  flags.DEFINE_float(
    'max_bad_share', None, 'Share of clips that may be skipped, 0 to 1.'
  )
  flags.DEFINE_enum(
    'faces',
    None,
    clip_config.FACES,
    'Boxes of the dataset, or found by a face detector; shipped.',
  )
  flags.DEFINE_enum(
    'depth',
    None,
    clip_config.DEPTHS,
    'Depth maps of the face box, or of a dense face mesh; ellipse.',
  )
  flags.DEFINE_string(
    'face_models', None, 'Folder of what fetch_face_models has fetched.'
  )
  flags.DEFINE_bool(
    'beam', False, 'Decode on Apache Beam instead of --workers processes.'
  )
  flags.DEFINE_multi_string(
    'beam_option',
    [],
    "One of Beam's own options, such as --beam_option=--runner=FlinkRunner; "
    'may be given again.',
  )
  flags.DEFINE_bool('list', False, 'Print what is there as JSON, no more.')


def main(argv) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unknown arguments: {argv[1:]}')
  logging.set_verbosity(logging.WARNING)
  options = flags.FLAGS
  try:
    if options.list:
      if options.manual_dir is None:
        raise ValueError('--list needs --manual_dir.')
      found = list_clips(options.dataset, options.manual_dir, options.config)
      print(json.dumps(found, indent=2))
      return
    with progress_lib.lazy_bar('Preparing') as report:
      folder = prepare(
        options.dataset,
        config=options.config,
        data_dir=options.data_dir,
        manual_dir=options.manual_dir,
        progress=report,
        num_workers=options.workers,
        allow_missing=options.allow_missing,
        max_bad_share=options.max_bad_share,
        use_beam=options.beam,
        beam_options=options.beam_option,
        face_models=options.face_models,
        **{name: options[name].value for name in clip_config.SETTINGS},
      )
  except (ValueError, OSError, ImportError) as error:
    sys.exit(f'error: {error}')
  print(folder)


if __name__ == '__main__':
  _define_flags()
  app.run(main)
