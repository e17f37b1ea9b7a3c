"""Every protocol of the field, as predicates over the metadata of clips.

Names are DATASET/PROTOCOL, or cross/SOURCES-TARGET for several datasets.
"""

from collections.abc import Callable

from nasfas_jax.data import dataset_families
from nasfas_jax.data.predicates import (
  ACER,
  CROSS,
  Protocol,
  all_but,
  of_dataset,
  official,
  only,
)

SYNTHETIC_DOMAINS = ('office', 'window', 'corridor', 'night')
SYNTHETIC_TYPES = ('print', 'print_cut', 'replay', 'mask_rigid', 'mask_paper')
_FLAT_TYPES = ('live', 'print', 'print_cut', 'replay')


def _synthetic() -> list[Protocol]:
  name = 'synthetic_fas'
  make = [(f'{name}/intra', {}, {}, ACER)]
  for domain in SYNTHETIC_DOMAINS:
    make.append(
      (
        f'{name}/cross_domain/{domain}',
        {'session': all_but(domain)},
        {'session': only(domain)},
        CROSS,
      )
    )
  for attack in SYNTHETIC_TYPES:
    make.append(
      (
        f'{name}/cross_type/{attack}',
        {'attack_type': all_but(attack)},
        {'attack_type': only('live', attack)},
        ('acer', 'eer', 'auc'),
      )
    )
  for domain in SYNTHETIC_DOMAINS:
    make.append(
      (
        f'{name}/cross_domain_type/{domain}',
        {'session': all_but(domain), 'attack_type': only(*_FLAT_TYPES)},
        {
          'session': only(domain),
          'attack_type': only('live', 'mask_rigid', 'mask_paper'),
        },
        ('hter', 'auc', 'eer'),
      )
    )
  return [
    official(title, name, train, test, 'session', headline)
    for title, train, test, headline in make
  ]


def _manifest() -> list[Protocol]:
  name = 'manifest_fas'
  headline = ('hter', 'acer', 'auc')
  return [official(f'{name}/official', name, {}, {}, 'session', headline)]


def _cross() -> list[Protocol]:
  """Trained on some datasets, tested on all of another.

  Publications differ in which clips of the sources train. Here it is their
  training split; their dev split sets the threshold, or the test split of
  those without one, so that no clip of the target does.
  """
  letters = {
    'o': 'oulu_npu',
    'c': 'casia_mfsd',
    'i': 'replay_attack',
    'm': 'msu_mfsd',
  }
  dev = {
    'oulu_npu': 'dev',
    'replay_attack': 'dev',
    'siw': 'dev',
    'casia_mfsd': 'test',
    'msu_mfsd': 'test',
  }

  def make(title: str, sources: list[str], target: str) -> Protocol:
    return Protocol(
      name=f'cross/{title}',
      datasets=(*sources, target),
      train=of_dataset({source: ('train',) for source in sources}),
      dev=of_dataset({source: (dev[source],) for source in sources}),
      test=of_dataset({target: ()}),
      domain_field='dataset',
      headline=('hter', 'auc', 'eer') if '+' in title else CROSS,
    )

  made = [
    make('casia-replay', ['casia_mfsd'], 'replay_attack'),
    make('replay-casia', ['replay_attack'], 'casia_mfsd'),
  ]
  for title in ('oci-m', 'omi-c', 'ocm-i', 'icm-o', 'mi-c', 'mi-o'):
    sources, _, target = title.partition('-')
    made.append(make(title, [letters[s] for s in sources], letters[target]))
  for title, target in (
    ('3dmad', 'three_d_mad'),
    ('hkbu', 'hkbu_mars_v2'),
    ('casia_surf_3dmask', 'casia_surf_3dmask'),
  ):
    made.append(make(f'oulu+siw-{title}', ['oulu_npu', 'siw'], target))
  return made


_FAMILIES: tuple[Callable[[], list[Protocol]], ...] = (
  _synthetic,
  _manifest,
  dataset_families.oulu_npu,
  dataset_families.siw,
  dataset_families.siw_m,
  dataset_families.casia_mfsd,
  dataset_families.replay_attack,
  dataset_families.msu_mfsd,
  dataset_families.three_d_mad,
  _cross,
)
PROTOCOLS = {
  protocol.name: protocol for family in _FAMILIES for protocol in family()
}
