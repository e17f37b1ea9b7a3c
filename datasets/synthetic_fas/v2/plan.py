"""The clips of version 2.0.0: their subjects, splits, rooms and types."""

import dataclasses
import math

# In the order of version 1.0.0.
KINDS = ('live', 'print', 'print_cut', 'replay', 'mask_rigid', 'mask_paper')
ATTACKS = KINDS[1:]
# The medium of an attack, `medium` in the record.
VARIANTS = {
  'live': ('',),
  'print': ('paper_flat', 'paper_bent'),
  'print_cut': ('paper_flat', 'paper_bent'),
  'replay': ('phone_oled', 'tablet_lcd', 'monitor_lcd'),
  'mask_rigid': ('plastic_matt', 'plastic_glossy', 'printed_3d'),
  'mask_paper': ('cardboard',),
}
# What the records' field `lists` says of a clip's room.
SEEN, UNSEEN = 'seen_rooms', 'unseen_rooms'


@dataclasses.dataclass(frozen=True)
class Size:
  """The number of clips, and how large they are.

  Attributes:
    seed: of the whole dataset; rooms, subjects and clips are drawn from it.
    rooms: number of rooms.
    unseen: the last so many rooms are those that the default protocol holds
      out.
    subjects: number of subjects in train, dev and test. Subjects of train and
      dev are in every room.
    test_seen: the number of other rooms in which a test subject is; it is in
      all unseen ones.
    live: live clips of each subject in each of its rooms.
    attacks: attack clips, likewise, each of another type. The types take turns.
    pixels: side of a clip's frames.
    face: side of its face box.
    more: training subjects beyond those of `subjects`. They and their clips
      have the last numbers, so that all others are what they are without them.
  """

  seed: int
  rooms: int
  unseen: int
  subjects: dict[str, int]
  test_seen: int
  live: int = 1
  attacks: int = 2
  pixels: int = 80
  face: int = 50
  more: int = 0


@dataclasses.dataclass(frozen=True)
class Clip:
  """One clip to render: all that its pixels depend on, except the size."""

  index: int
  split: str
  subject: int
  room: int
  kind: int
  variant: int
  take: int
  unseen: bool

  @property
  def attack_type(self) -> str:
    return KINDS[self.kind]

  @property
  def medium(self) -> str:
    return VARIANTS[self.attack_type][self.variant]

  @property
  def subject_id(self) -> str:
    return f's{self.subject:04d}'

  @property
  def room_name(self) -> str:
    return room_name(self.room)

  @property
  def clip_id(self) -> str:
    return (
      f'{self.room_name}/{self.subject_id}/{self.attack_type}/{self.take:03d}'
    )


def room_name(room: int) -> str:
  return f'room{room:02d}'


_DEFAULT = Size(
  seed=20, rooms=12, unseen=4, subjects={'train': 32, 'dev': 20, 'test': 80},
  test_seen=2,
)  # fmt: skip
SIZES = {
  'default': _DEFAULT,
  # The same clips, with more around the face: 2.72 face sizes.
  'wide': dataclasses.replace(_DEFAULT, pixels=136),
  # The same clips, and those of 224 more subjects to train on.
  'many': dataclasses.replace(_DEFAULT, more=224),
  'large': Size(
    seed=21, rooms=24, unseen=8,
    subjects={'train': 120, 'dev': 40, 'test': 240}, test_seen=4, pixels=128,
    face=80,
  ),
  'tiny': Size(
    seed=22, rooms=6, unseen=2, subjects={'train': 2, 'dev': 2, 'test': 2},
    test_seen=4,
  ),
}  # fmt: skip


def make_plan(size: Size) -> list[Clip]:
  """All clips of a size by split, those of `more` last, with their index."""
  clips = []
  first_subject = 0
  seen = size.rooms - size.unseen
  for split, number in (*size.subjects.items(), ('train', size.more)):
    for turn in range(number):
      rooms = list(range(size.rooms))
      if split == 'test' and size.test_seen < seen:
        # The seen rooms take turns, so that each has as many test subjects.
        first = turn * size.test_seen
        some = {(first + k) % seen for k in range(size.test_seen)}
        rooms = [r for r in rooms if r >= seen or r in some]
      for place, room in enumerate(rooms):
        kinds = [(0, take) for take in range(size.live)]
        for j in range(size.attacks):
          kinds.append((1 + (size.attacks * (turn + place) + j) % 5, 0))
        for kind, take in kinds:
          variants = len(VARIANTS[KINDS[kind]])
          clips.append(
            Clip(
              index=len(clips),
              split=split,
              subject=first_subject + turn,
              room=room,
              kind=kind,
              variant=(turn // 5 + place + take) % variants,
              take=take,
              unseen=room >= seen,
            )
          )
    first_subject += number
  return clips


def half_width(
  error: float, live: int, attacks: int, subjects: int, correlation: float
) -> float:
  """Half the 95 % interval of an HTER, clustered by subject.

  HTER = (APCER + BPCER) / 2 of independent sets, each a mean of clips of
  variance p (1 - p). Clips of one subject are alike, so a mean of m clips a
  subject has the design effect 1 + (m - 1) rho (Kish, "Survey sampling", 1965).
  The interval is that of these rooms: other rooms may be harder or easier.

  Args:
    error: p, the APCER and BPCER that are expected.
    live: number of live test clips.
    attacks: number of attacks among the test clips.
    subjects: number of subjects, who share the clips evenly.
    correlation: rho, of the errors within a subject.
  """
  variance = 0.0
  for number in (live, attacks):
    effect = 1 + (number / subjects - 1) * correlation
    variance += error * (1 - error) * effect / number / 4
  return 1.96 * math.sqrt(variance)
