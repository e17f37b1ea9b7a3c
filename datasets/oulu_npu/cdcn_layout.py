"""OULU-NPU as CDCN's preprocessing writes it: pictures, boxes, depth maps.

`{Train,Dev,Test}_images/P_S_UU_F/P_S_UU_F_NNN_scene.jpg` and `.dat`;
`IJCB_re/OULU{train,dev,test}_images/P_S_UU_F/P_S_UU_F_NNN_depth1D.jpg`.
"""

import pathlib

from nasfas_datasets import listing
from nasfas_datasets.oulu_npu import layout

FOLDERS = {split: f'{split.title()}_images' for split in layout.FOLDERS}
DEPTH_FOLDERS = {
  split: f'IJCB_re/OULU{split}_images' for split in layout.FOLDERS
}
INSTRUCTIONS = """
The preprocessed OULU-NPU is made by CDCN's data preparation from the licensed
videos (https://sites.google.com/site/oulunpudatabase/). manual_dir holds
Train_images, Dev_images and Test_images, with a folder for each video, which
has NAME_NNN_scene.jpg and .dat files. Depth maps, NAME_NNN_depth1D.jpg, are in
IJCB_re/OULUtrain_images, and likewise for dev and test.
"""


def list_clips(root: pathlib.Path) -> listing.Listing:
  """Lists the folders; see `listing`. Ids and fields are as in `layout`.

  Raises:
    FileNotFoundError: if a folder of the dataset is missing.
    ValueError: if a subject is in two splits.
  """
  listing.require_folders(root, FOLDERS.values(), INSTRUCTIONS)
  root = root.resolve()
  split_of = {folder: split for split, folder in FOLDERS.items()}

  def parse(name: str) -> dict[str, object]:
    folder, _, clip = name.rpartition('/')
    split = split_of[folder]
    depth = root / DEPTH_FOLDERS[split] / clip
    if depth.is_dir() or depth.is_symlink():
      listing.check_file(depth, root)
    return {
      **layout.fields(split, clip),
      'boxes': listing.Boxes('frame_folder', root / name),
      'depth': depth if depth.is_dir() else None,
    }

  folders = [
    path
    for folder in FOLDERS.values()
    for path in listing.folders(root, f'{folder}/*')
  ]
  found = listing.make_listing(root, folders, parse)
  listing.check_disjoint(found, 'oulu_npu')
  have = found.names()
  found.missing = [name for name in layout.expected() if name not in have]
  without = sum(clip.depth is None for clip in found.clips)
  if without:
    found.notes.append(f'{without} clips have no folder of depth maps.')
  found.notes += layout.check_protocols(root, 'OULU_Protocols')
  return found
