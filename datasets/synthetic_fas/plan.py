"""The clips to render: their subjects, splits, domains and types."""

import dataclasses

from nasfas_datasets.synthetic_fas import rooms

# In the order of the renderer's integer `kind`.
KINDS = ('live', 'print', 'print_cut', 'replay', 'mask_rigid', 'mask_paper')
ATTACKS = KINDS[1:]

# The medium of an attack, `medium` in the record.
VARIANTS = {
  'live': ('',),
  'print': ('paper_flat', 'paper_bent'),
  'print_cut': ('paper_flat', 'paper_bent'),
  'replay': ('phone', 'monitor'),
  'mask_rigid': ('plastic_matt', 'plastic_glossy'),
  'mask_paper': ('cardboard', 'cardboard'),
}


@dataclasses.dataclass(frozen=True)
class Size:
  """The number of clips.

  Attributes:
    subjects: number of subjects in train, dev and test.
    live: live clips of each subject in each domain.
    attacks: attack clips of each subject in each domain, each of another type.
      The types take turns, so that every domain of every split has all types.
  """

  subjects: dict[str, int]
  live: int
  attacks: int


@dataclasses.dataclass(frozen=True)
class Clip:
  """One clip to render: all that its pixels depend on, except the seed."""

  index: int
  split: str
  subject: int
  domain: int
  kind: int
  variant: int
  take: int

  @property
  def attack_type(self) -> str:
    return KINDS[self.kind]

  @property
  def medium(self) -> str:
    return VARIANTS[self.attack_type][self.variant]

  @property
  def subject_id(self) -> str:
    return f's{self.subject:03d}'

  @property
  def clip_id(self) -> str:
    domain = rooms.DOMAINS[self.domain].name
    return f'{domain}/{self.subject_id}/{self.attack_type}/{self.take:03d}'


SIZES = {
  'default': Size({'train': 40, 'dev': 20, 'test': 40}, live=2, attacks=4),
  'tiny': Size({'train': 2, 'dev': 2, 'test': 2}, live=1, attacks=3),
}


def make_plan(size: Size) -> list[Clip]:
  """All clips of a size, ordered by split; the index counts them."""
  clips = []
  first_subject = 0
  for split, num_subjects in size.subjects.items():
    for turn in range(num_subjects):
      for domain in range(len(rooms.DOMAINS)):
        kinds = [(0, take) for take in range(size.live)]
        for j in range(size.attacks):
          kinds.append((1 + (size.attacks * turn + domain + j) % 5, 0))
        for kind, take in kinds:
          num_variants = len(VARIANTS[KINDS[kind]])
          clips.append(
            Clip(
              index=len(clips),
              split=split,
              subject=first_subject + turn,
              domain=domain,
              kind=kind,
              variant=(turn // 2 + domain + take) % num_variants,
              take=take,
            )
          )
    first_subject += num_subjects
  return clips
