"""The names of 3DMAD: `SS_TT_NN.hdf5`, subject, session, shot.

Sessions 1 and 2 are live, session 3 is a mask. Some copies hold converted
videos, Data/SS_TT_NN.avi.
"""

import pathlib

from nasfas_datasets import listing

# The subjects of each split, as in the protocol 'classification'.
SUBJECTS = {'train': range(1, 8), 'dev': range(8, 13), 'test': range(13, 18)}
GRAMMAR = 'SS_TT_NN.hdf5 (subject 01-17, session 01-03, shot 01-05)'
INSTRUCTIONS = """
3DMAD is available under an end user licence:
https://www.idiap.ch/dataset/3dmad
manual_dir holds the files SS_TT_NN.hdf5 as shipped, in any folders.
"""


def parse(root: pathlib.Path, name: str) -> dict[str, object]:
  """The fields of a clip from its path in the dataset."""
  stem, _, suffix = name.rpartition('/')[2].rpartition('.')
  found = listing.match(r'(\d{2})_(0[123])_(0[1-5])', stem, GRAMMAR)
  subject, session, _ = found.groups()
  split = [s for s, numbers in SUBJECTS.items() if int(subject) in numbers]
  if not split:
    raise listing.ClipError(f'subject {subject}; 3DMAD has 01 to 17')
  live = session != '03'
  return {
    # The same for both file formats.
    'clip_id': stem,
    'subject': subject,
    'split': split[0],
    'label': int(live),
    'attack_type': 'live' if live else 'mask_rigid',
    'attack_detail': '' if live else 'mask',
    'session': session,
    'boxes': listing.Boxes('hdf5_eyes', root / name)
    if suffix == 'hdf5'
    else None,
  }


def list_clips(root: pathlib.Path) -> listing.Listing:
  """Lists the folder; see `listing`."""
  listing.require_folders(root, ['.'], INSTRUCTIONS)
  root = root.resolve()
  # The .hdf5 comes first; an .avi of the same clip is then skipped.
  paths = sorted(
    listing.files(root, '.', ['.hdf5', '.avi']),
    key=lambda path: path.suffix.lower() == '.avi',
  )
  found = listing.make_listing(root, paths, lambda name: parse(root, name))
  if not found.clips and not found.bad:
    raise FileNotFoundError(
      f'{str(root)!r} holds no file {GRAMMAR}. {" ".join(INSTRUCTIONS.split())}'
    )
  listing.check_disjoint(found, 'three_d_mad')
  have = found.names()
  found.missing = [
    name
    for numbers in SUBJECTS.values()
    for subject in numbers
    for name in (
      f'{subject:02d}_{session:02d}_{shot:02d}'
      for session in (1, 2, 3)
      for shot in range(1, 6)
    )
    if name not in have
  ]
  return found
