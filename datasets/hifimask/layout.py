"""The names and lists of CASIA-SURF HiFiMask.

`Data/C_SS_T_S_L_N/0000.png`: C complexion, SS subject, T what is shown, S
scene, L light, N sensor. The lists `protocol/CASIA_HiFiMask@pK_image_SPLIT.txt`
(or `_video_`) have lines `CASIA_HiFiMask/Data/CLIP[/0000.png] LABEL`, 0 live.
"""

import collections
import pathlib
import re
from collections.abc import Mapping

from nasfas_datasets import list_files, listing
from nasfas_jax import records

KINDS = {
  '0': ('live', ''),
  '1': ('mask_transparent', 'transparent'),
  '2': ('mask_rigid', 'plaster'),
  '3': ('mask_rigid', 'resin'),
}
SCENES = ('white', 'green', 'tricolor', 'sunshine', 'shadow', 'motion')
LIGHTS = ('no', 'normal', 'dim', 'bright', 'back', 'side', 'top')
PROTOCOLS = ('1', '2.1', '2.2', '2.3', '3')
# Clips of protocol 1, as published.
PUBLISHED = {'train': 32514, 'dev': 4347, 'test': 17362}
GRAMMAR = (
  'Data/C_SS_T_S_L_N (complexion 1-3, subject 01-75, type 0-3, scene 1-6, '
  'light 0-6, sensor 0-8)'
)
INSTRUCTIONS = """
CASIA-SURF HiFiMask is available under an agreement:
https://sites.google.com/view/face-anti-spoofing-challenge
manual_dir holds Data, with a folder for each clip, and protocol, with the lists
of github.com/liuajian/CASIA-FAS-Dataset.
"""


def parse(
  root: pathlib.Path, name: str, lists: Mapping[str, set[str]] | None = None
) -> dict[str, object]:
  """The fields of a clip from the path of its folder.

  Args:
    root: the folder of the dataset.
    name: path from the root.
    lists: see `read_lists`; None: there are none.

  Raises:
    ClipError: if the name does not fit, or protocol 1 does not have the clip.
  """
  del root
  found = listing.match(
    r'Data/([123]_(\d\d)_([0-3])_([1-6])_([0-6])_([0-8]))', name, GRAMMAR
  )
  clip, subject, kind, scene, light, sensor = found.groups()
  listed = (lists or {}).get(clip, set())
  split = [split for split in records.SPLITS if f'1/{split}' in listed]
  if not split:
    raise listing.ClipError('in no list of protocol 1')
  attack_type, detail = KINDS[kind]
  return {
    'clip_id': name,
    'subject': subject,
    'split': split[0],
    'label': int(attack_type == 'live'),
    'attack_type': attack_type,
    'attack_detail': detail,
    'session': SCENES[int(scene) - 1],
    'camera': sensor,
    'light': LIGHTS[int(light)],
    'lists': list_files.join(listed),
  }


def read_list(path: pathlib.Path) -> set[str]:
  """The clips of a list.

  Raises:
    ValueError: for a line of another form, or with another label than its name
      says.
  """
  clips = set()
  for number, line in list_files.read_lines(path):
    found = re.fullmatch(
      r'(?:.*/)?([123]_\d\d_([0-3])_[1-6]_[0-6]_[0-8])(?:/\w+\.png)?\s+([01])',
      line,
    )
    if found is None:
      raise ValueError(
        f'{path}, line {number}: {line[:80]!r} is not CLIP LABEL with '
        f'{GRAMMAR} and 0 or 1.'
      )
    clip, kind, label = found.groups()
    if (kind == '0') != (label == '0'):
      raise ValueError(
        f'{path}, line {number}: {line[:80]!r} has another label than its '
        'name; 0 is live.'
      )
    clips.add(clip)
  return clips


def read_lists(root: pathlib.Path) -> tuple[dict[str, set[str]], list[str]]:
  """(clip -> names of the lists that hold it, notes).

  Raises:
    FileNotFoundError: if a list of protocol 1 is missing.
    ValueError: see `read_list`; and for a clip in two splits of a protocol.
  """
  lists, notes = collections.defaultdict(set), []
  for protocol in PROTOCOLS:
    for split in records.SPLITS:
      stem = f'CASIA_HiFiMask@p{protocol}'
      paths = [
        root / 'protocol' / f'{stem}_{form}_{split}.txt'
        for form in ('video', 'image')
      ]
      paths = [path for path in paths if path.is_file()]
      if not paths:
        missing = f'protocol/{stem}_image_{split}.txt is missing'
        if protocol == '1':
          raise FileNotFoundError(
            f'{root}: {missing}. {" ".join(INSTRUCTIONS.split())}'
          )
        notes.append(missing)
        continue
      clips = read_list(paths[0])
      for clip in clips:
        lists[clip].add(f'{protocol}/{split}')
      if protocol == '1' and len(clips) != PUBLISHED[split]:
        notes.append(
          f'{paths[0].name} names {len(clips)} clips; published: '
          f'{PUBLISHED[split]}'
        )
  for clip, names in lists.items():
    protocols = [name.partition('/')[0] for name in names]
    if len(set(protocols)) < len(protocols):
      raise ValueError(
        f'{root / "protocol"}: {clip} is in two splits of a protocol.'
      )
  return lists, notes


def list_clips(root: pathlib.Path) -> listing.Listing:
  """Lists the folder; see `listing`."""
  listing.require_folders(root, ['Data', 'protocol'], INSTRUCTIONS)
  root = root.resolve()
  lists, notes = read_lists(root)
  folders = listing.folders(root, 'Data/*')
  found = listing.make_listing(
    root, folders, lambda name: parse(root, name, lists)
  )
  listing.check_disjoint(found, 'hifimask')
  have = {path.name for path in folders if path.is_dir()}
  found.missing = sorted(f'Data/{clip}' for clip in lists.keys() - have)
  found.notes = notes
  return found
