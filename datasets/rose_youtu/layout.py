"""The names of Rose-Youtu: `USER/L_S_D_x_E_p_N.mp4`.

L what is shown, S talking or not, D the phone, x glasses or not, E the
background, p the user, N a number.
"""

import pathlib

from nasfas_datasets import listing

KINDS = {
  'G': 'live',
  'Ps': 'print',
  'Pq': 'print',
  'Vl': 'replay',
  'Vm': 'replay',
  'Mc': 'mask_paper',
  'Mf': 'mask_paper',
  'Mu': 'mask_paper',
  'Ml': 'mask_paper',
}
# The users of each split, as a public evaluation divides them: the release has
# no dev set.
USERS = {'train': (2, 3, 4, 5, 6, 7, 9, 10), 'dev': (11, 12)}
USERS['test'] = tuple(range(13, 24))
PHONES = ('5s', 'HS', 'HW', 'IP', 'ZTE')
# Clips of these splits, as counted in public lists.
PUBLISHED = {'train': 1389, 'dev': 359, 'test': 1749}
GRAMMAR = (
  f'USER/L_S_D_x_E_p_N.mp4 (L {", ".join(KINDS)}; S T or NT; D '
  f'{", ".join(PHONES)}; x g or wg)'
)
INSTRUCTIONS = """
Rose-Youtu is available under a signed agreement from the ROSE lab, NTU:
https://rose1.ntu.edu.sg/dataset/faceLivenessDetection/
manual_dir holds a folder for each user, 2 to 23, with the videos as shipped.
"""


def parse(root: pathlib.Path, name: str) -> dict[str, object]:
  """The fields of a clip from its path in the dataset."""
  del root
  found = listing.match(
    rf'(?:.*/)?(\d+)/({"|".join(KINDS)})_(T|NT)_({"|".join(PHONES)})_(g|wg)_'
    r'([A-Za-z0-9]+)_(\d+)_(\d+)\.mp4',
    name,
    GRAMMAR,
  )
  folder, kind, talking, phone, glasses, background, user, _ = found.groups()
  if int(folder) != int(user):
    raise listing.ClipError(f'user {user} is in the folder {folder}')
  split = [s for s, users in USERS.items() if int(user) in users]
  if not split:
    raise listing.ClipError(f'user {user} is of no split; 2 to 7, 9 to 23 are')
  return {
    'clip_id': name.removesuffix('.mp4'),
    'subject': f'{int(user):02d}',
    'split': split[0],
    'label': int(kind == 'G'),
    'attack_type': KINDS[kind],
    'attack_detail': '' if kind == 'G' else kind,
    'session': f'{talking}_{glasses}',
    'camera': phone,
    'light': background,
  }


def list_clips(root: pathlib.Path) -> listing.Listing:
  """Lists the folder; see `listing`."""
  found = listing.list_folders(
    root,
    ['.'],
    ['.mp4'],
    parse,
    instructions=INSTRUCTIONS,
    disjoint='rose_youtu',
  )
  found.notes = listing.unlike_published(found, PUBLISHED)
  return found
