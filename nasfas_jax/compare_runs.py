"""The experiment 'report': finished runs side by side on one page."""

import pathlib

import ml_collections

from nasfas_jax import progress, remote
from nasfas_jax.report import runs_page


def report(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Writes workdir/index.html from the runs in config.workdirs.

  Raises:
    ValueError: if config.workdirs is empty, or names what is no evaluated run.
  """
  folders = [part.strip() for part in config.workdirs.split(',')]
  folders = [folder for folder in folders if folder]
  if not folders:
    raise ValueError(
      'Give --config.workdirs=RUN,RUN: the workdirs of finished runs.'
    )
  try:
    folders = [str(remote.local(folder)) for folder in folders]
    path = runs_page.write(folders, workdir / 'index.html')
  except ValueError as error:
    raise ValueError(f'config.workdirs: {error}') from error
  progress.say(f'Report: {path}')
