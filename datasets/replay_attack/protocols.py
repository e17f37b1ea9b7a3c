"""The shipped protocols of Replay-Attack, and leave-one-attack-out."""

from nasfas_datasets.replay_attack import layout
from nasfas_jax.data.protocols.definition import (
  Protocol,
  leave_attack_out,
  official,
  only,
)

PLACE = 70


def protocols() -> list[Protocol]:
  """By device, by what the attack shows, and leave_out/KIND."""
  name = 'replay_attack'

  def attacks(device: str = '', shown: str = '') -> list[str]:
    return [
      f'{its_device}_{what}'
      for its_device, _, what in layout.ATTACKS
      if device in ('', its_device) and shown in ('', what)
    ]

  digital = [kind for kind in attacks(shown='photo') if 'print' not in kind]
  make = {
    'grandtest': attacks(),
    'print': attacks('print'),
    'mobile': attacks('mobile'),
    'highdef': attacks('highdef'),
    'photo': attacks(shown='photo'),
    'digitalphoto': digital,
    'video': attacks(shown='video'),
  }
  made = []
  for title, details in make.items():
    both = {'attack_detail': only('', *details)}
    made.append(
      official(f'{name}/{title}', name, both, both, 'light', ('hter', 'auc'))
    )
  left_out = {kind: make[kind] for kind in ('print', 'digitalphoto', 'video')}
  return [*made, *leave_attack_out(name, '', left_out, 'dev', 'light')]
