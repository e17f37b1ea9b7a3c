"""The rows of a small CDCN in the README of synthetic_fas.

python -m benchmarks.small_cdcn --workdir=runs/small_cdcn
python -m benchmarks.small_cdcn --workdir=runs/small_cdcn_1 --version=1.0.0

CDCN at the width of the default config, trained for 300 steps on whole clips,
without a shift of the crop: as when the rows were made. In 2.0.0 it is
tested on seen and on unseen rooms; in 1.0.0 it is trained on three rooms and
tested on the fourth, each room in turn, about five minutes on two CPU cores.
Prints AUC / HTER as a row of the table there.
"""

import pathlib
import statistics

from absl import app, flags

from nasfas_jax.report import family_table
from nasfas_jax.study import jobs

_WORKDIR = flags.DEFINE_string('workdir', 'runs/small_cdcn', 'Folder.')
_DATA_DIR = flags.DEFINE_string('data_dir', '', 'Folder of datasets.')
_VERSION = flags.DEFINE_enum(
  'version', '2.0.0', ['1.0.0', '2.0.0'], 'Of synthetic_fas.'
)
_STEPS = flags.DEFINE_integer('steps', 300, 'Training steps.')

WHOLE_CLIPS = (
  '--config.data.num_frames=8',
  '--config.data.num_snippets=1',
  '--config.augmentation.shift=0.0',
)


def main(argv) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unknown arguments: {argv[1:]}')
  first = _VERSION.value == '1.0.0'
  tested = (
    family_table.members('synthetic_fas/cross_domain')
    if first
    else ('synthetic_fas/seen_rooms', 'synthetic_fas/unseen_rooms')
  )
  listed = [
    jobs.Job(
      protocol.rpartition('/')[2],
      (
        '--config=configs/train.py',
        '--config.model=cdcn',
        f'--config.protocol={protocol}',
        f'--config.train.num_steps={_STEPS.value}',
        *WHOLE_CLIPS,
        f'--config.data.data_dir={_DATA_DIR.value}',
      ),
    )
    for protocol in tested
  ]
  pairs = []
  for results in jobs.run(listed, pathlib.Path(_WORKDIR.value)).values():
    test = results['splits']['test']
    pairs.append((test['auc'], test['hter']))
  if first:
    columns = zip(*pairs, strict=True)
    pairs.append(tuple(statistics.mean(column) for column in columns))
  cells = ' | '.join(f'{auc:.2f} / {hter:.2f}' for auc, hter in pairs)
  print(f'| small CDCN, {_STEPS.value} steps | {cells} |')


if __name__ == '__main__':
  app.run(main)
