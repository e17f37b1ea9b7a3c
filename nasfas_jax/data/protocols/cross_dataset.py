"""Protocols over several datasets: cross/SOURCES-TARGET.

The source datasets train, the whole target dataset is tested. Publications
differ in the source clips that they train on; here it is the train split. The
threshold is set on the sources' dev split, or on their test split if they have
no dev split, and never on the target.
"""

from nasfas_jax.data.protocols.definition import CROSS, Protocol, of_dataset

# The letters by which the literature abbreviates the four usual datasets.
LETTERS = {
  'o': 'oulu_npu',
  'c': 'casia_mfsd',
  'i': 'replay_attack',
  'm': 'msu_mfsd',
}
# The split of each source that sets the threshold.
DEV_SPLITS = {
  'oulu_npu': 'dev',
  'replay_attack': 'dev',
  'siw': 'dev',
  'casia_mfsd': 'test',
  'msu_mfsd': 'test',
}
# Datasets of 3D masks, which the sources do not have.
MASKS = {
  '3dmad': 'three_d_mad',
  'hkbu': 'hkbu_mars_v2',
  'casia_surf_3dmask': 'casia_surf_3dmask',
}


def protocols() -> list[Protocol]:
  """All cross-dataset protocols, in the order of tables."""
  made = [
    _make('casia-replay', ['casia_mfsd'], 'replay_attack'),
    _make('replay-casia', ['replay_attack'], 'casia_mfsd'),
  ]
  for title in ('oci-m', 'omi-c', 'ocm-i', 'icm-o', 'mi-c', 'mi-o'):
    sources, _, target = title.partition('-')
    made.append(_make(title, [LETTERS[s] for s in sources], LETTERS[target]))
  for title, target in MASKS.items():
    made.append(_make(f'oulu+siw-{title}', ['oulu_npu', 'siw'], target))
  return made


def _make(title: str, sources: list[str], target: str) -> Protocol:
  return Protocol(
    name=f'cross/{title}',
    datasets=(*sources, target),
    train=of_dataset({source: ('train',) for source in sources}),
    dev=of_dataset({source: (DEV_SPLITS[source],) for source in sources}),
    test=of_dataset({target: ()}),
    domain_field='dataset',
    headline=('hter', 'auc', 'eer') if '+' in title else CROSS,
  )
