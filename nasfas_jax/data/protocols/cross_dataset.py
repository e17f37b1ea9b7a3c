"""Protocols over several datasets: cross/SOURCES-TARGET, mcio/SOURCES-TARGET.

In `cross` the train splits of the sources train, and the whole target is
tested. The threshold is set on the sources' dev split, or on their test split
if they have no dev split, and never on the target.

`mcio` has the clips of the literature on MSU-MFSD, CASIA-MFSD, Replay-Attack
and OULU-NPU: a dataset is the same set of clips as a source and as a target,
all but the dev splits. The dev splits of the sources, which that literature
does not use, set the threshold. Its own figures are at the EER threshold of the
test clips; the table of a family has both.
"""

from nasfas_jax.data.protocols.definition import (
  CROSS,
  Protocol,
  Published,
  of_dataset,
)

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
# Three sources and a target, and the two with few sources.
ROTATIONS = ('oci-m', 'omi-c', 'ocm-i', 'icm-o', 'mi-c', 'mi-o')
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
  for title in ROTATIONS:
    made.append(_make(title, *_datasets(title)))
  for title, target in MASKS.items():
    made.append(_make(f'oulu+siw-{title}', ['oulu_npu', 'siw'], target))
  made += [_mcio(title) for title in ROTATIONS]
  return made


def _datasets(title: str) -> tuple[list[str], str]:
  """(sources, target) of a rotation."""
  sources, _, target = title.partition('-')
  return [LETTERS[letter] for letter in sources], LETTERS[target]


def _mcio(title: str) -> Protocol:
  sources, target = _datasets(title)
  used = ('train', 'test')
  return Protocol(
    name=f'mcio/{title}',
    datasets=(*sources, target),
    train=of_dataset(dict.fromkeys(sources, used)),
    # Only OULU-NPU and Replay-Attack have one; each rotation has one of them.
    dev=of_dataset(dict.fromkeys(sources, ('dev',))),
    test=of_dataset({target: used}),
    domain_field='dataset',
    headline=CROSS,
  )


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


def _figures(name: str, *pairs: tuple[float, float]) -> list[dict]:
  return [{name: (hter, 0), 'auc': (auc, 0)} for hter, auc in pairs]


# HTER at the EER threshold of the test clips, from the checkpoint that is best
# on the test clips. From the table of FLIP (arXiv 2309.16649), which collects
# them; those of SSDG-R with few sources are from the source of `_ON_DEV`.
_AT_TEST_EER = 'hter at the test EER'
_ON_TEST = {
  'NAS-FAS': _figures(
    _AT_TEST_EER, (16.85, 90.42), (15.21, 92.64), (11.63, 96.98), (13.16, 94.18)
  ),
  'SSDG-R': _figures(
    _AT_TEST_EER,
    *((7.38, 97.17), (10.44, 95.94), (11.71, 96.59), (15.61, 91.54)),
    *((18.67, 86.67), (23.19, 84.73)),
  ),
  'SSAN-R': _figures(
    _AT_TEST_EER, (6.67, 98.75), (10.0, 96.67), (8.88, 96.79), (13.72, 93.63)
  ),
  'FLIP-MCL (CelebA-Spoof trains too)': _figures(
    _AT_TEST_EER, (4.95, 98.11), (0.54, 99.98), (4.25, 99.07), (2.31, 99.63)
  ),
}
# HTER at the threshold of the sources' dev set. SSDG-R as measured by the
# authors of DBMNet (github.com/taylover-pei/DBMNet-TIFS).
_ON_DEV = {
  'SSDG-R': _figures(
    'hter',
    *((11.19, 93.69), (14.78, 94.74), (16.64, 91.93), (24.29, 88.72)),
    *((18.89, 91.35), (26.44, 78.14)),
  ),
}


def _by_protocol(family: str, methods: dict[str, list[dict]]) -> dict:
  return {
    f'{family}/{title}': {
      method: figures[place]
      for method, figures in methods.items()
      if place < len(figures)
    }
    for place, title in enumerate(ROTATIONS)
  }


# Family -> the published figures of its protocols.
PUBLISHED: dict[str, Published] = {
  'mcio': _by_protocol('mcio', _ON_TEST),
  'cross': _by_protocol('cross', _ON_DEV),
}
