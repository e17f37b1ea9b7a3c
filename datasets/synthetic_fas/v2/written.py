"""Prints the distributions of version 2.0.0 as distributions.md.

python -m nasfas_datasets.synthetic_fas.v2.written \
  > datasets/synthetic_fas/distributions.md
"""

from nasfas_datasets.synthetic_fas.v2 import tables

_ABOUT = {
  'room': 'A room and its camera, drawn once for a room.',
  'clip': 'How a clip differs from its room. LogUniform draws are factors.',
  'person': 'A person, the same in all clips.',
  'dress': 'What a person wears in a clip.',
  'paper': 'Paper with a picture on it.',
  'screen': 'A screen.',
  'edges': 'Where a carrier ends.',
  'mask': 'A mask.',
}


def page() -> str:
  """The page, Markdown."""
  lines = [
    '# What synthetic_fas 2.0.0 is drawn from',
    '',
    'Every number is drawn evenly from its range, independently of all others;',
    'rooms of a config are draws of one table, so an unseen room is one more '
    'draw.',
    'The numbers depend on the seed of the config and on that of the room, the',
    'subject or the clip.',
    '',
    'Lengths are in head units (half the height of a face, about 95 mm),',
    'periods and blur in pixels of a sensor on which a face has 50, angles in',
    'radians, light relative to a white surface in full light. Made by',
    '`python -m nasfas_datasets.synthetic_fas.v2.written`.',
  ]
  for name, table in tables.ALL.items():
    lines += ['', f'## {name}', '', _ABOUT[name], '', '| name | drawn |']
    lines.append('|---|---|')
    lines += [f'| {key} | {spread} |' for key, spread in table.items()]
  lines += [
    '',
    '## motion',
    '',
    'Each is a middle and a swing about it: drawn is the middle within ± the',
    'first number, and the amplitude. `plane` is the carrier of prints and',
    'screens; those of live clips and masks keep still.',
    '',
    '| name | middle within | amplitude |',
    '|---|---|---|',
  ]
  lines += [
    f'| {key} | ± {middle:g} | {low:g} to {high:g} |'
    for key, (middle, low, high) in tables.SWINGS.items()
  ]
  return '\n'.join(lines) + '\n'


if __name__ == '__main__':
  print(page(), end='')
