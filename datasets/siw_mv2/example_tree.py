"""SiW-Mv2 on disk: made-up numbers of the real names, and made-up lists.

The whole of it has 785 live clips and 915 attacks.
"""

import pathlib
from collections.abc import Iterator

_FOLDERS = {
  'Makeup_Co': 'Makeup_Cosmetic',
  'Makeup_Im': 'Makeup_Impersonation',
  'Makeup_Ob': 'Makeup_Obfuscation',
  'Mask_Half': 'Mask_HalfMask',
  'Mask_Mann': 'Mannequin',
  'Mask_Paper': 'Mask_PaperMask',
  'Mask_Silicone': 'Silicone',
  'Mask_Trans': 'Mask_TransparentMask',
  'Paper': 'Print',
  'Partial_Eye': 'Partial_Eye',
  'Partial_Mouth': 'Partial_Mouth',
  'Partial_Funnyeye': 'Partial_FunnyeyeGlasses',
  'Partial_Paperglass': 'Partial_PaperGlasses',
  'Replay': 'Replay',
}
# Of every type 1 to 3 train, 4 and 5 are tested, 6 is in no list.
COUNTS = {
  'clips': 20 + 14 * 6,
  'live': 20,
  'subjects': 104,
  'split': {'train': 12 + 14 * 3, 'test': 8 + 14 * 3},
}
FIELDS = {
  'Spoof/Print/Paper_4': {
    'attack_type': 'print',
    'attack_detail': 'Paper',
    'label': 0,
    'split': 'test',
    'lists': '1/test 3/test_B 3/test_C 3/test_D 3/test_E',
  },
  'Spoof/Partial_Eye/Partial_Eye_6': {'split': 'test', 'lists': ''},
  'Live/Live_1': {'split': 'train', 'lists': '1/train 3/test_A 3/train'},
}
REFUSED = {
  'Live/Live_99.mov': 'in no list of pro_3_text',
  'Live/Paper_9.mov': 'Paper is not in the folder Live',
  'Spoof/Print/Makeup_Xx_1.mov': 'does not fit TYPE_N.mov',
}
PROTOCOL_COUNTS = {
  'siw_mv2/1': ((12, 42), (12, 42), (8, 28)),
  # Mask_Paper and Partial_Paperglass leave the train set with Paper.
  'siw_mv2/2/Paper': ((12, 33), (12, 33), (8, 6)),
  'siw_mv2/2/Partial_Eye': ((12, 39), (12, 39), (8, 6)),
  # Live_1 is in both lists.
  'siw_mv2/3/A': ((11, 42), (11, 42), (2, 14)),
  'siw_mv2/3/C': ((12, 42), (12, 42), (8, 14)),
}
SMALL_PROTOCOL = 'siw_mv2/1'
TELLS_FACES = True


def names() -> Iterator[str]:
  """20 live clips, and 6 of every type."""
  for number in range(1, 21):
    yield f'Live/Live_{number}.mov'
  for kind, folder in _FOLDERS.items():
    for number in range(1, 7):
      yield f'Spoof/{folder}/{kind}_{number}.mov'


def is_small(name: str) -> bool:
  if name.startswith('Live'):
    return name.endswith(('_1.mov', '_2.mov', '_13.mov', '_14.mov'))
  return '/Paper_' in name or '/Replay_' in name


def annotation(name: str, num_frames: int) -> tuple[str, str]:
  """Corners of the face, a line a frame."""
  lines = ['8 8 40 40'] * num_frames
  return name.replace('.mov', '.face'), '\n'.join(lines) + '\n'


def write_lists(root: pathlib.Path) -> None:
  """Lists that name the clips that are there."""
  here = [path.stem for path in sorted(root.rglob('*.mov'))]

  def attacks(*numbers: int) -> list[str]:
    tails = tuple(f'_{number}' for number in numbers)
    return [
      stem
      for stem in here
      if stem.rpartition('_')[0] in _FOLDERS and stem.endswith(tails)
    ]

  def live(*numbers: int) -> list[str]:
    return [f'Live_{n}' for n in numbers if f'Live_{n}' in here]

  train, test = live(*range(1, 13)), live(*range(13, 21))
  lists = {
    'trainlist_live': train,
    # Published with repeats, to balance the classes.
    'trainlist_all': attacks(1, 2, 3) + attacks(1),
    'testlist_live': test,
    'testlist_all': attacks(4, 5),
    'train_A_pretrain': train + attacks(1, 2, 3) + train,
    'test_A_pretrain': live(1, 13) + attacks(5),
    **dict.fromkeys(
      ('test_B_spoof', 'test_C_race', 'test_D_age', 'test_E_ill'),
      test + attacks(4),
    ),
  }
  folder = root / 'pro_3_text'
  folder.mkdir(exist_ok=True)
  for title, stems in lists.items():
    # Without a line break at the end, as published.
    (folder / f'{title}.txt').write_text('\n'.join(stems), encoding='utf-8')
