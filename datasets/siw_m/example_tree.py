"""SiW-M on disk: its complete list of names, and what they tell."""

from collections.abc import Iterator

COUNTS = {
  'clips': 1626,
  'live': 659,
  'subjects': 1626,
  'split': {'train': 1495, 'test': 131},
}
FIELDS = {
  'Makeup/Cosmetic/Makeup_Co_55_noLive_546': {
    'attack_type': 'makeup_cosmetic',
    'label': 0,
  },
  'Mask/MannequinHead/Mask_Mann_3': {'attack_type': 'mannequin'},
}
REFUSED = {'Live/Train/Makeup_Xx_1.mov': 'does not fit TYPE_N.mov'}
PROTOCOL_COUNTS = {
  'siw_m/paper': ((528, 850), (528, 850), (131, 117)),
  'siw_m/partial_paper': ((528, 881), (528, 881), (131, 86)),
}
SMALL_PROTOCOL = 'siw_m/paper'
TELLS_FACES = True


def names() -> Iterator[str]:
  """All 1,626 videos, one of them with an odd name."""
  counts = {
    'Live/Train/Live': 528,
    'Live/Test/Live': 131,
    'Paper/Paper': 117,
    'Replay/Replay': 98,
    'Partial/PaperCut/Partial_Eye': 57,
    'Partial/PaperCut/Partial_Mouth': 29,
    'Partial/PaperGlasses/Partial_Paperglass': 127,
    'Partial/FunnyeyeGlasses/Partial_Funnyeye': 160,
    'Mask/HalfMask/Mask_Half': 72,
    'Mask/SiliconeMask/Mask_Silicone': 27,
    'Mask/TransparentMask/Mask_Trans': 88,
    'Mask/PaperMask/Mask_Paper': 17,
    'Mask/MannequinHead/Mask_Mann': 40,
    'Makeup/Cosmetic/Makeup_Co': 50,
    'Makeup/Impersonation/Makeup_Im': 61,
    'Makeup/Obfuscation/Makeup_Ob': 23,
  }
  for stem, count in counts.items():
    first = 529 if 'Test' in stem else 1
    for number in range(first, first + count):
      yield f'{stem}_{number}.mov'
  yield 'Makeup/Cosmetic/Makeup_Co_55_noLive_546.mov'


def is_small(name: str) -> bool:
  return name.rpartition('_')[2] in ('1.mov', '2.mov', '5.mov') or (
    name.endswith('Live_530.mov')
  )


def annotation(name: str, num_frames: int) -> tuple[str, str]:
  """Corners of the face, a line a frame."""
  lines = ['8 8 40 40'] * num_frames
  return name.replace('.mov', '.face'), '\n'.join(lines) + '\n'
