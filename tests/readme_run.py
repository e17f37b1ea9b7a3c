"""Runs the commands of the README at their smallest size; .ci/run calls it.

  python tests/readme_run.py FOLDER

Each command of the README runs as it stands there, in a process of its own and
in the order of the page, with the changes of `smallest` and with the files of
`provide` in place of a reader's. Commands of pip and pytest are left out, as
.ci/run has its own, and the demo, which serves until it is stopped. Needs the
extras test, prepare and export, and the face models.
"""

import os
import pathlib
import runpy
import shlex
import shutil
import subprocess
import sys
import time

import documents

from nasfas_datasets.manifest_fas import astronaut_example

# A BPCER of 5 % takes 59 live clips.
LIVE_CLIPS = 60


def provide(folder: pathlib.Path) -> None:
  """Writes the files that a reader of the README has."""
  videos = folder / 'MY_VIDEOS'
  astronaut_example.write_example(videos)
  live = sorted(videos.rglob('*_live.*'))
  (mp4, *_) = [path for path in live if path.suffix == '.mp4']
  shutil.copy(mp4, folder / 'me.mp4')
  (folder / 'live_clips').mkdir()
  for number in range(LIVE_CLIPS):
    path = live[number % len(live)]
    shutil.copy(path, folder / 'live_clips' / f'{number:02}{path.suffix}')


def smallest(words: list[str]) -> list[str]:
  """A command of the README with the least work, on the smallest data."""
  name, _, variants = words[3].removeprefix('--config=').partition(':')
  if name in ('search', 'train'):
    names = {'debug', *filter(None, variants.split(','))}
    words = [
      *words[:3],
      f'--config={name}:{",".join(sorted(names))}',
      *words[4:],
    ]
  if any('=manifest_fas/' in word for word in words):
    # The builder config of `debug` is of synthetic_fas.
    words = [*words, '--config.data.builder_config=default']
  if name in ('audit', 'protocols'):
    words = [*words, '--config.data.builder_config=tiny']
  return words


def main(folder: pathlib.Path) -> None:
  """Runs the commands in a folder, which must be new or empty.

  Raises:
    SystemExit: after the first command that fails.
  """
  text = (documents.ROOT / 'README.md').read_text(encoding='utf-8')
  folder.mkdir(parents=True, exist_ok=True)
  provide(folder)
  done = set()
  for line in documents.commands(text):
    words = shlex.split(line, comments=True)
    if words[0] != 'python' or '--config=demo' in words:
      continue
    if words[2] == 'nasfas_jax.main':
      words = smallest(words)
    # At their smallest size two commands may be one.
    same = tuple(word for word in words if not word.startswith('--workdir='))
    if same in done:
      continue
    done.add(same)
    print(f'$ {shlex.join(words)}', flush=True)
    start = time.perf_counter()
    status = subprocess.run(
      [sys.executable, *words[1:]], cwd=folder, check=False
    ).returncode
    print(f'  {time.perf_counter() - start:.0f} s', flush=True)
    if status:
      raise SystemExit(f'status {status}: {shlex.join(words)}')
    # The scores of another system.
    scores = folder / 'runs' / 'search' / 'scores.csv'
    if scores.exists():
      shutil.copy(scores, folder / 'scores.csv')
  os.chdir(folder)
  for language, content in documents.blocks(text):
    if language == 'python':
      pathlib.Path('snippet.py').write_text(content, encoding='utf-8')
      runpy.run_path('snippet.py')


if __name__ == '__main__':
  main(pathlib.Path(sys.argv[1]).resolve())
