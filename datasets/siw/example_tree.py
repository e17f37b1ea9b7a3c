"""SiW on disk: its nominal list of names, and what they tell."""

from collections.abc import Iterator

from nasfas_datasets.siw import layout

# Nominal counts: 8 live, 4 print, 16 replay a subject, all media there.
COUNTS = {
  'clips': 4620,
  'live': 1320,
  'subjects': 165,
  'split': {'train': 2240, 'dev': 280, 'test': 2100},
}
FIELDS = {
  # `.m.mov` is one clip with the id of its plain name.
  'Test/live/111/111-2-1-1-1': {
    'label': 1,
    'camera': '2',
    'light': 'controlled',
    'split': 'test',
  },
  'Train/spoof/003/003-1-3-4-2': {'split': 'dev'},
}
REFUSED = {
  'Test/live/111/112-1-1-1-1.mov': 'subject 112 in the folder 111',
  'Test/live/111/111-1-2-1-1.mov': 'type 2 (print) in live',
}
PROTOCOL_COUNTS = {
  'siw/1': ((640, 1600), (80, 200), (600, 1500)),
  **{f'siw/2/{k}': ((640, 960), (80, 120), (600, 300)) for k in range(1, 5)},
  'siw/3/1': ((640, 320), (80, 40), (600, 1200)),
  'siw/3/2': ((640, 1280), (80, 160), (600, 300)),
}
SMALL_PROTOCOL = 'siw/3/1'
TELLS_FACES = True


def names() -> Iterator[str]:
  """8 live, 4 print and 16 replay clips of every subject."""
  train = [*sorted(layout.DEV_SUBJECTS), *(f'{n:03d}' for n in range(31, 111))]
  for subject in train:
    yield from _of_subject('Train', subject)
  for number in range(111, 186):
    yield from _of_subject('Test', f'{number:03d}')


def _of_subject(folder: str, subject: str) -> Iterator[str]:
  for sensor in (1, 2):
    live = f'{folder}/live/{subject}/{subject}-{sensor}-1'
    spoof = f'{folder}/spoof/{subject}/{subject}-{sensor}'
    tail = '.m.mov' if (folder, sensor) == ('Test', 2) else '.mov'
    for medium in (1, 2):
      for session in (1, 2):
        yield f'{live}-{medium}-{session}{tail}'
    for medium in (1, 2):
      yield f'{spoof}-2-{medium}-1.mov'
    for medium in (1, 2, 3, 4):
      for session in (1, 2):
        yield f'{spoof}-3-{medium}-{session}.mov'


def is_small(name: str) -> bool:
  return any(f'/{s}/' in name for s in ('031', '032', '003', '111'))


def annotation(name: str, num_frames: int) -> tuple[str, str]:
  """Corners of the face, a line a frame."""
  lines = ['8 8 40 40'] * num_frames
  return f'{name.rpartition(".")[0]}.face', '\n'.join(lines) + '\n'
