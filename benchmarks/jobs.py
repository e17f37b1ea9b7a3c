"""Runs of the main module as subprocesses, resumable."""

import json
import pathlib
import subprocess
import sys


def run(arguments: list[str], workdir: pathlib.Path, data_dir: str) -> dict:
  """Runs one job unless it is finished; returns its results.json."""
  if not (workdir / 'results.json').exists():
    command = [
      *(sys.executable, '-m', 'nasfas_jax.main'),
      *arguments,
      f'--workdir={workdir}',
      f'--config.data.data_dir={data_dir}',
    ]
    subprocess.run(command, check=True)
  return json.loads((workdir / 'results.json').read_text(encoding='utf-8'))
