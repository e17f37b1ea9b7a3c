"""Small trees of the licensed datasets with real, tiny videos."""

import cv2
import numpy as np
import trees

FOURCC = {'.avi': 'MJPG', '.mov': 'mp4v', '.mp4': 'mp4v'}
WIDTH, HEIGHT, FRAMES = 96, 64, 10
# A few names of each dataset: live and spoof, of two subjects a split.
CHOSEN = {
  'oulu_npu': lambda n: (
    n[-11:-4] in ('1_1_01_', '1_1_02_', '2_2_21_')
    or any(f'1_{s}_{u}_' in n for s in (1, 3) for u in ('01', '02', '21', '36'))
  ),
  'siw': lambda n: any(f'/{s}/' in n for s in ('031', '032', '003', '111')),
  'siw_m': lambda n: (
    n.rpartition('_')[2] in ('1.mov', '2.mov', '5.mov')
    or n.endswith('Live_530.mov')
  ),
  'casia_mfsd': lambda n: n.split('/')[1] in ('1', '2'),
  'replay_attack': lambda n: any(
    f'client{c}' in n for c in ('001', '002', '003', '009')
  ),
  'msu_mfsd': lambda n: any(f'client{c}' in n for c in ('002', '003', '001')),
  'three_d_mad': lambda n: n[:2] in ('01', '02', '08', '13') and n[6:8] == '01',
  'hkbu_mars_v2': lambda n: '/01/' in n or '/09/' in n,
  'casia_surf_3dmask': lambda n: '0900_000' in n,
}


def write_video(path):
  """A bright square, the face, that stands in the left upper quarter."""
  path.parent.mkdir(parents=True, exist_ok=True)
  writer = cv2.VideoWriter(
    str(path),
    cv2.VideoWriter_fourcc(*FOURCC[path.suffix.lower()]),
    25,
    (WIDTH, HEIGHT),
  )
  assert writer.isOpened()
  frame = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
  frame[8:40, 8:40] = 220
  for _ in range(FRAMES):
    writer.write(frame)
  writer.release()


def write_hdf5(path):
  import h5py

  path.parent.mkdir(parents=True, exist_ok=True)
  colour = np.full((FRAMES, 3, HEIGHT, WIDTH), 40, np.uint8)
  colour[:, :, 8:40, 8:40] = 220
  with h5py.File(path, 'w') as file:
    file['Color_Data'] = colour
    # The right eye, left in the picture, first.
    file['Eye_Pos'] = np.tile([17, 17, 30, 17], (FRAMES, 1))


def annotate(root, name, path):
  """The annotation that the dataset ships: the square in every frame."""
  lines = {
    'oulu_npu': lambda i: f'{i},17,17,30,17',
    'siw': lambda i: '8 8 40 40',
    'siw_m': lambda i: '8 8 40 40',
    'casia_mfsd': lambda i: f'{i} 8 8 32 32',
    'replay_attack': lambda i: f'{i} 8 8 32 32',
    'msu_mfsd': lambda i: f'{i},8,8,40,40,17,17,30,17',
  }
  if name not in lines:
    return
  suffix = '.txt' if name == 'oulu_npu' else '.face'
  target = path.with_suffix(suffix)
  if name in ('casia_mfsd', 'replay_attack'):
    target = root / 'face-locations' / target.relative_to(root)
    target.parent.mkdir(parents=True, exist_ok=True)
  target.write_text('\n'.join(map(lines[name], range(FRAMES))) + '\n')


def make_tree(name, root):
  for file in filter(CHOSEN[name], trees.TREES[name]()):
    path = root / file
    if path.suffix == '.hdf5':
      write_hdf5(path)
    else:
      write_video(path)
      annotate(root, name, path)
  return root
