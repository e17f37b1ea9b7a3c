"""CASIA-SURF 3DMask on disk: its list of names, and what they tell."""

from collections.abc import Iterator

from nasfas_datasets.casia_surf_3dmask import layout

COUNTS = {
  'clips': 1152,
  'live': 288,
  'subjects': 48,
  'split': {'test': 1152},
}
FIELDS = {
  'Real/0900_000/15': {'session': '2', 'label': 1},
  'Fake/0900_000/3/6': {'session': '6'},
}
REFUSED = {
  'CASIA_SURF_3DMask/Real/0900_000/2.MOV': 'condition 2 of a live clip'
}
PROTOCOL_COUNTS = {}
SMALL_PROTOCOL = 'cross/oulu+siw-casia_surf_3dmask'
TELLS_FACES = False


def names() -> Iterator[str]:
  """All 1,152 videos; the subjects' names are made up."""
  for number in range(48):
    subject = f'09{number:02d}_{number:03d}'
    for code in layout.CONDITIONS:
      yield f'CASIA_SURF_3DMask/Real/{subject}/{code}.MOV'
    for decoration in range(1, 4):
      for code in range(1, 7):
        yield f'CASIA_SURF_3DMask/Fake/{subject}/{decoration}/{code}.MOV'


def is_small(name: str) -> bool:
  return '0900_000' in name
