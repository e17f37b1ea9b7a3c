"""The names of NUAA: `{ClientRaw,ImposterRaw}/IIII/ID_G_P_SS_N.jpg`.

A picture is a clip of one frame. Its session, SS, tells its split: 03 is
tested. The lists `{client,imposter}_{train,test}_raw.txt` are compared with
this rule.
"""

import collections
import pathlib

from nasfas_datasets import list_files, listing

FOLDERS = {'ClientRaw': 'client', 'ImposterRaw': 'imposter'}
# (live, print) pictures, as published.
PUBLISHED = {'train': (1743, 1748), 'test': (3362, 5761)}
GRAMMAR = '{ClientRaw,ImposterRaw}/IIII/ID_GLASSES_POSITION_SESSION_N.jpg'
INSTRUCTIONS = """
NUAA is given out for research by the Nanjing University of Aeronautics and
Astronautics. manual_dir, or raw in it, holds ClientRaw, ImposterRaw and the
lists client_train_raw.txt and so on.
"""


def parse(root: pathlib.Path, name: str) -> dict[str, object]:
  """The fields of a picture from its path in the dataset.

  Some names are in both folders: the label is the folder's.
  """
  del root
  found = listing.match(
    r'(ClientRaw|ImposterRaw)/(\d{4})/(\d{4})_(\d+)_(\d+)_(\d\d)_(\d+)\.jpg',
    name,
    GRAMMAR,
  )
  folder, subject, other, glasses, position, session, _ = found.groups()
  if subject != other:
    raise listing.ClipError(f'subject {other} is in the folder {subject}')
  live = folder == 'ClientRaw'
  return {
    'clip_id': name.removesuffix('.jpg'),
    'subject': subject,
    'split': 'test' if session == '03' else 'train',
    'label': int(live),
    'attack_type': 'live' if live else 'print',
    'session': session,
    'light': position,
    'medium': f'glasses{glasses}',
  }


def list_clips(root: pathlib.Path) -> listing.Listing:
  """Lists the folder; see `listing`.

  Raises:
    ValueError: if a shipped list cannot be read.
  """
  if (root / 'raw').is_dir():
    root = root / 'raw'
  found = listing.list_folders(
    root, FOLDERS, ['.jpg'], parse, instructions=INSTRUCTIONS
  )
  counts = collections.Counter((c.split, c.label) for c in found.clips)
  found.notes = ['subjects are in both splits: disjoint subjects cannot be had']
  for split, (live, spoof) in PUBLISHED.items():
    have = (counts[split, 1], counts[split, 0])
    if have != (live, spoof):
      found.notes.append(
        f'{have[0]} live and {have[1]} print pictures of {split}; published: '
        f'{live} and {spoof}'
      )
  splits = {clip.clip_id: clip.split for clip in found.clips}
  for folder, word in FOLDERS.items():
    for split in PUBLISHED:
      path = root / f'{word}_{split}_raw.txt'
      if path.is_file():
        missing, differ = _compare(path, folder, split, splits)
        found.missing += sorted(set(missing) - found.names())
        if differ:
          found.notes.append(
            f'{path.name} differs from the sessions in {len(differ)} pictures: '
            f'{listing.shorten(differ)}'
          )
  return found


def _compare(
  path: pathlib.Path, folder: str, split: str, splits: dict[str, str]
) -> tuple[list[str], list[str]]:
  """(listed pictures that are missing, pictures of another split) of a list."""
  listed = {
    f'{folder}/{line.replace(chr(92), "/").removesuffix(".jpg")}'
    for _, line in list_files.read_lines(path)
  }
  missing = sorted(listed - splits.keys())
  ruled = {
    clip_id
    for clip_id, found in splits.items()
    if found == split and clip_id.startswith(f'{folder}/')
  }
  return missing, sorted((listed & splits.keys()) ^ ruled)
