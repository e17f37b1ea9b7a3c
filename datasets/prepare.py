"""Prepares one dataset: writes its shards and its index.

python -m nasfas_datasets.prepare --dataset=synthetic_fas
python -m nasfas_datasets.prepare --dataset=manifest_fas --manual_dir=VIDEOS
"""

import contextlib
import io
import pathlib
import sys
import time
from collections.abc import Callable

import tensorflow_datasets as tfds
from absl import app, flags, logging

from nasfas_datasets import fas_builder

_DATASET = flags.DEFINE_string('dataset', None, 'Name of the dataset.')
_CONFIG = flags.DEFINE_string(
  'config', None, 'Builder config, such as tiny; default: the first.'
)
_DATA_DIR = flags.DEFINE_string(
  'data_dir',
  None,
  'Where datasets are kept; default: $TFDS_DATA_DIR or ~/tensorflow_datasets.',
)
_MANUAL_DIR = flags.DEFINE_string(
  'manual_dir', None, 'Folder of files that you got by hand.'
)

Progress = Callable[[int, int], None]


def _make_builder(name, config, data_dir, progress) -> fas_builder.FasBuilder:
  builder_class = fas_builder.builder_class(name)
  names = [c.name for c in builder_class.BUILDER_CONFIGS]
  if config is not None and config not in names:
    raise ValueError(
      f'Unknown config {config!r} of dataset {name!r}; allowed: '
      f'{", ".join(names) or "none"}.'
    )
  if data_dir is not None:
    data_dir = pathlib.Path(data_dir).expanduser()
  return builder_class(config=config, data_dir=data_dir, progress=progress)


def prepare(
  name: str,
  *,
  config: str | None = None,
  data_dir: str | pathlib.Path | None = None,
  manual_dir: str | pathlib.Path | None = None,
  progress: Progress | None = None,
) -> pathlib.Path:
  """Prepares a dataset; does only what is missing, and prints nothing.

  Args:
    name: of the dataset.
    config: name of the builder config; None is the first.
    data_dir: where datasets are kept; None is the default of TFDS.
    manual_dir: folder of files that the user got by hand.
    progress: called with (clips done, clips in all) as clips are made.

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
    name, config, data_dir, None if progress is None else report
  )
  download_config = tfds.download.DownloadConfig(
    manual_dir=manual_dir and pathlib.Path(manual_dir).expanduser()
  )
  tfds.disable_progress_bar()
  with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints to it.
    builder.download_and_prepare(download_config=download_config)
  return pathlib.Path(builder.data_dir)


class _Line:
  """Says on stderr how far it is: one line, or a line every tenth."""

  def __init__(self, name: str):
    self._name = name
    self._start = time.monotonic()
    self._shown = -1
    self._on_terminal = sys.stderr.isatty()

  def __call__(self, done: int, total: int) -> None:
    share = 100 * done // total
    if not self._on_terminal:
      share -= share % 10
    if share == self._shown:
      return
    self._shown = share
    seconds = time.monotonic() - self._start
    text = f'{self._name}: {done}/{total} clips, {seconds:.0f} s'
    if self._on_terminal:
      end = '\n' if done == total else ''
      print(f'\r{text}', end=end, file=sys.stderr, flush=True)
    else:
      print(text, file=sys.stderr, flush=True)


def main(argv) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unknown arguments: {argv[1:]}')
  logging.set_verbosity(logging.WARNING)
  try:
    folder = prepare(
      _DATASET.value or '',
      config=_CONFIG.value,
      data_dir=_DATA_DIR.value,
      manual_dir=_MANUAL_DIR.value,
      progress=_Line(_DATASET.value),
    )
  except (ValueError, OSError) as error:
    sys.exit(f'Error: {error}')
  print(folder)


if __name__ == '__main__':
  app.run(main)
