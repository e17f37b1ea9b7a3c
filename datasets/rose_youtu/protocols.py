"""The protocols of Rose-Youtu: all attacks, and one attack left out."""

from nasfas_datasets.rose_youtu import layout
from nasfas_jax.data.protocols.definition import leave_attack_out, official

PLACE = 72


def protocols():
  """all, and leave_out/{print,replay,mask}."""
  name = 'rose_youtu'
  attacks = {'print': [], 'replay': [], 'mask_paper': []}
  for code, kind in layout.KINDS.items():
    if kind != 'live':
      attacks[kind].append(code)
  return [
    official(f'{name}/all', name, {}, {}, 'camera', ('hter', 'auc', 'eer')),
    *leave_attack_out(name, '', attacks, 'dev'),
  ]
