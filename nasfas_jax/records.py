"""The record: the one schema of a clip, used by every dataset.

One label rule holds everywhere: 1 is live (bona fide), 0 is spoof, and a higher
score is more evidence for live.
"""

# The dataset that is rendered here: nothing has to be got for it.
RENDERED_DATASET = 'synthetic_fas'

SPOOF = 0
LIVE = 1
# Of a test clip that is scored and not judged, for nobody said what it is. Its
# attack type is ''.
UNLABELLED = -1

# The attack types of clips ("PAI species" in ISO/IEC 30107-3). 'live' is the
# attack type of all live clips and of no other.
ATTACK_TYPES = (
  'live',
  'print',
  'print_cut',
  'replay',
  'mask_rigid',
  'mask_paper',
  'mask_silicone',
  'mask_half',
  'mask_transparent',
  'mannequin',
  'makeup_cosmetic',
  'makeup_impersonation',
  'makeup_obfuscation',
  'partial_paper',
  'partial_funnyeye',
  'partial_paperglasses',
  # Not held before a camera: files that were altered.
  'adversarial',
  'digital',
)

SPLITS = ('train', 'dev', 'test')

# The metadata that protocols select on. INDEX_FILE beside the shards holds a
# copy, one JSON object per line in the order of the records, so that clips are
# selected without reading frames.
INDEX_FIELDS = (
  'clip_id',
  'dataset',
  'subject',
  'split',
  'label',
  'attack_type',
  'attack_detail',
  'session',
  'camera',
  'light',
  'medium',
  # The dataset's own lists that name the clip, such as 'protocol1/test',
  # separated by blanks.
  'lists',
)
INDEX_FILE = 'index.jsonl'
# Name of a shard -> see `files.quick_sum`.
SHARDS_FILE = 'shards.json'

# Side of the stored crop over the side of the face box. It is wide, so that
# training can draw face scales of 1.2 to 1.4 from it.
WIDE_MARGIN = 1.6
MAX_FRAMES = 32
DEPTH_SIZE = 32


def attack_type_number(clip_id: str, attack_type: str) -> int:
  """The index of a clip's attack type in `ATTACK_TYPES`; -1 for ''.

  Raises:
    ValueError: for an unknown attack type; names the clip.
  """
  if not attack_type:
    return UNLABELLED
  if attack_type not in ATTACK_TYPES:
    raise ValueError(
      f'Clip {clip_id!r}: unknown attack_type {attack_type!r}; allowed: '
      f'{", ".join(ATTACK_TYPES)}.'
    )
  return ATTACK_TYPES.index(attack_type)


def check_labels(
  clip_id: str, label: int, attack_type: str, split: str
) -> None:
  """Raises ValueError unless label, attack type and split agree."""
  attack_type_number(clip_id, attack_type)
  if label not in (SPOOF, LIVE, UNLABELLED):
    raise ValueError(
      f'Clip {clip_id!r}: label {label!r}; allowed: 1 (live), 0 (spoof), -1 '
      '(not labelled).'
    )
  if label == UNLABELLED and split != 'test':
    raise ValueError(
      f'Clip {clip_id!r}: split {split!r} without a label; allowed: test.'
    )
  kind = UNLABELLED if not attack_type else int(attack_type == 'live')
  if label != kind:
    raise ValueError(
      f'Clip {clip_id!r}: label {label} does not go with attack_type '
      f'{attack_type!r}: live clips have label 1, attacks 0, and only clips '
      "without a label have ''."
    )
