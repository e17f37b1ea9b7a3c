"""What of a clip should not tell its label, but may: how it was recorded.

The rows of an index hold `properties`, which the builders write:
  box: 'given' (an annotation), 'detected' or 'whole_frame' (there was none).
  framing: larger side of the face box over the smaller side of the frame.
  file_type: suffix of the file, or 'folder'.
  width, height: of the upright frame, the first one if they differ.
  file_frames: frames of the file; claimed_frames: the header's count, if that
    is another.
  file_bytes_per_pixel: size of the file over all pixels of its frames.
  stored_framing, stored_bytes_per_pixel: the same of the stored crops.
  stored_side: smaller side of the stored crops, in pixels.
  still: whether all stored frames are equal, as of a picture.
Rendered datasets have the last four only; builds of earlier versions have no
stored_side.
"""

import collections
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nasfas_jax import records
from nasfas_jax.data.index import Row

# A property with an AUC from here on tells the label; of few clips, chance
# alone may reach it: so many standard deviations of chance are asked for too.
WARN_AUC = 0.75
WARN_DEVIATIONS = 3.0
# Crops that are shrunk by more than this without averaging show false texture.
WARN_SHRINK = 1.5
# A crop may reach this much past the stored picture: a box is rounded.
_REACH = 1.02


class Audit(NamedTuple):
  """How well one property alone tells the label.

  Attributes:
    name: of the property.
    auc: direction-free, in [0.5, 1]; 0.5 is chance.
    deviation: the standard deviation of the AUC of a property that tells
      nothing.
  """

  name: str
  auc: float
  deviation: float

  @property
  def warns(self) -> bool:
    enough = self.auc - 0.5 > WARN_DEVIATIONS * self.deviation
    return self.auc >= WARN_AUC and enough


def auc(values: Sequence[float], labels: Sequence[int]) -> float:
  """The area under the ROC curve of a number, whichever way it points.

  Args:
    values: [N].
    labels: [N], 1 live, 0 spoof; both occur.

  Returns:
    max(A, 1 - A) with A = P(live > spoof) + 0.5 P(equal).
  """
  values = np.asarray(values, np.float64)
  labels = np.asarray(labels)
  live, spoof = values[labels == 1], np.sort(values[labels == 0])
  below = np.searchsorted(spoof, live, side='left')
  not_above = np.searchsorted(spoof, live, side='right')
  area = float((below + not_above).mean() / (2 * len(spoof)))
  return max(area, 1 - area)


def _numbers(rows: Sequence[Row]) -> dict[str, list[float | str]]:
  """Property -> its value in each row; only those that all rows have."""
  found = collections.defaultdict(list)
  for row in rows:
    known = row.get('properties', {})
    values = {
      'framing': known.get('framing', known.get('stored_framing')),
      'number of frames': known.get('file_frames', row.get('num_frames')),
      'fps': row.get('fps'),
      'file type': known.get('file_type'),
      'bytes per pixel': known.get('file_bytes_per_pixel'),
      'stored bytes per pixel': known.get('stored_bytes_per_pixel'),
    }
    if 'width' in known:
      values['resolution'] = known['width'] * known['height']
      values['shape of the frame'] = known['width'] / known['height']
    if 'box' in known:
      values['whole frame'] = float(known['box'] == 'whole_frame')
    for name, value in values.items():
      if value is not None:
        found[name].append(value)
  return {n: v for n, v in found.items() if len(v) == len(rows)}


def _of_words(words: Sequence[str], labels: Sequence[int]) -> list[float]:
  """For each clip the share of live ones among those with its word."""
  total, live = collections.Counter(words), collections.Counter()
  for word, label in zip(words, labels, strict=True):
    live[word] += label
  return [live[word] / total[word] for word in words]


def audit(rows: Sequence[Row]) -> list[Audit]:
  """How well each property tells the label of clips, the best first.

  Args:
    rows: of an index; those without a label do not count.

  Returns:
    [] if there are not both live and spoof clips.
  """
  rows = [row for row in rows if row['label'] != records.UNLABELLED]
  labels = [row['label'] for row in rows]
  live = sum(labels)
  spoof = len(labels) - live
  if not live or not spoof:
    return []
  deviation = math.sqrt((live + spoof + 1) / (12 * live * spoof))
  found = []
  for name, values in _numbers(rows).items():
    if isinstance(values[0], str):
      values = _of_words(values, labels)
    found.append(Audit(name, auc(values, labels), deviation))
  return sorted(found, key=lambda item: (-item.auc, item.name))


def audit_lines(rows: Sequence[Row]) -> list[str]:
  """One line with the AUC of each property, and a warning where one tells."""
  found = audit(rows)
  if not found:
    return ['Audit: without both live clips and attacks there is none.']
  text = ', '.join(f'{item.name} {item.auc:.2f}' for item in found)
  lines = [
    f'Audit: AUC of what should not tell the label (0.5: it does not): {text}'
  ]
  lines += [
    f'WARNING: {item.name} alone tells live clips from attacks with AUC '
    f'{item.auc:.2f}: a network may learn that instead of faces.'
    for item in found
    if item.warns
  ]
  return lines


def count(rows: Iterable[Row]) -> str:
  """Such as '12 (live 8, attack 4)', or with ', unlabelled 3'."""
  found = collections.Counter(row['label'] for row in rows)
  text = f'live {found[records.LIVE]}, attack {found[records.SPOOF]}'
  if found[records.UNLABELLED]:
    text += f', unlabelled {found[records.UNLABELLED]}'
  return f'{found.total()} ({text})'


# Where a face box is from, in words.
_BOX_WORDS = {
  'given': 'given',
  'detected': 'found by the detector',
  'whole_frame': 'none, the whole frame is taken',
}


def _property(row: Row, name: str) -> object:
  return row.get('properties', {}).get(name)


def box_sources(rows: Iterable[Row]) -> dict[str, int]:
  """Where face boxes are from -> the number of clips, sorted.

  'unknown' is of clips whose index does not say, as rendered ones.
  """
  found = collections.Counter(
    _property(row, 'box') or 'unknown' for row in rows
  )
  return dict(sorted(found.items()))


def _differs(first: tuple[int, int], second: tuple[int, int]) -> bool:
  """Whether two shares differ by more than chance and by more than 0.05.

  Args:
    first: (how many of a group, of how many).
    second: likewise.
  """
  if not first[1] or not second[1]:
    return False
  both = (first[0] + second[0]) / (first[1] + second[1])
  chance = math.sqrt(both * (1 - both) * (1 / first[1] + 1 / second[1]))
  gap = abs(first[0] / first[1] - second[0] / second[1])
  return gap > 0.05 and gap >= 2.5 * chance


def by_label(name: str, told: Sequence[tuple[int, bool]]) -> list[str]:
  """A share by label, and a warning if it differs between the labels.

  Args:
    name: what is counted, such as 'Clips without a face'.
    told: (label, whether it is so) of all clips; those without a label do not
      count.

  Returns:
    [] if it is so for none.
  """
  live = [so for label, so in told if label == records.LIVE]
  spoof = [so for label, so in told if label == records.SPOOF]
  if not any(live) and not any(spoof):
    return []
  parts = [
    f'{sum(part)} of {len(part)} {word}'
    + (f' ({np.mean(part):.0%})' if part else '')
    for word, part in (('live', live), ('attack', spoof))
  ]
  lines = [f'{name}: {", ".join(parts)}']
  if _differs((sum(live), len(live)), (sum(spoof), len(spoof))):
    lines.append(
      f'WARNING: {name.lower()}: the share depends on the label, so what is '
      'left may give it away.'
    )
  return lines


def box_lines(rows: Sequence[Row]) -> list[str]:
  """How the face boxes came about, by label and attack type."""
  kinds = collections.defaultdict(list)
  for row in rows:
    kinds[_property(row, 'box')].append(row)
  kinds.pop(None, None)
  lines = []
  for kind, chosen in sorted(kinds.items()):
    types = collections.Counter(
      row['attack_type'] or 'unlabelled' for row in chosen
    )
    listed = ', '.join(f'{name} {n}' for name, n in sorted(types.items()))
    lines.append(
      f'Face boxes {_BOX_WORDS.get(kind, kind)}: {len(chosen)} ({listed})'
    )
  return lines


def still_lines(rows: Sequence[Row], static: bool = False) -> list[str]:
  """What stills among the clips mean; [] without any.

  Args:
    rows: of an index.
    static: whether the network sees single frames only.
  """
  stills = [row for row in rows if _is_still(row)]
  if not stills:
    return []
  lines = [f'Stills (one frame, or all frames equal): {count(stills)}']
  shares = [
    np.mean([_is_still(row) for row in rows if row['label'] == label] or [0])
    for label in (0, 1)
  ]
  if not static:
    lines.append(
      'A still has no motion: its dynamic image is flat. Train with '
      '--config.input.fusion=static.'
    )
    if abs(shares[0] - shares[1]) > 0.05:
      lines.append(
        f'WARNING: {shares[1]:.0%} of the live clips and {shares[0]:.0%} of '
        'the attacks are stills: whether anything moves tells the label.'
      )
  return lines


def _is_still(row: Row) -> bool:
  return row.get('num_frames') == 1 or bool(_property(row, 'still'))


def other_box_lines(
  trained: Mapping[str, int], judged: Mapping[str, Sequence[Row]]
) -> list[str]:
  """A warning of sets whose face boxes are from elsewhere; [] without any.

  A network that is trained on faces has not learned whole frames, and boxes of
  a detector are not those of an annotation. A set differs if it has boxes of a
  source that no training clip has, or if the share of a source differs by more
  than 0.05 and by more than chance.

  Args:
    trained: see `box_sources`, of the training clips; {}: nobody knows.
    judged: name of a set -> its rows.
  """
  trained = _known_sources(trained)
  told = []
  for name, rows in judged.items() if trained else ():
    found = _known_sources(box_sources(rows))
    totals = sum(found.values()), sum(trained.values())
    if found.keys() - trained.keys() or any(
      _differs((found.get(kind, 0), totals[0]), (number, totals[1]))
      for kind, number in trained.items()
    ):
      told.append(f'of {name}: {_in_words(found)}')
  if not told:
    return []
  return [
    f'WARNING: face boxes of the training clips: {_in_words(trained)}; '
    f'{"; ".join(told)}. The network is judged on crops of another kind than '
    'it has learned. Prepare all the datasets with --faces=detected (and give '
    '--config.data.builder_config, such as default_detected), or get the boxes '
    'that are missing.'
  ]


def _known_sources(sources: Mapping[str, int]) -> dict[str, int]:
  """The sources without 'unknown': a rendered face has its box given."""
  found = collections.Counter()
  for kind, number in sources.items():
    found['given' if kind == 'unknown' else kind] += number
  return dict(sorted(found.items()))


def _in_words(sources: Mapping[str, int]) -> str:
  return ', '.join(
    f'{_BOX_WORDS.get(kind, kind)} {number}' for kind, number in sources.items()
  )


class Crops(NamedTuple):
  """How clips are cropped.

  Attributes:
    scale: the largest side of a crop over that of the face.
    reach: the same of the square that holds it wherever it is shifted.
    size: side of the network's input in pixels.
  """

  scale: float
  reach: float
  size: int


def crop_lines(rows: Sequence[Row], crops: Crops) -> list[str]:
  """Warnings of crops that the stored pictures do not serve; [] without any.

  Args:
    rows: of the clips that are cropped.
    crops: how.
  """
  framed = [row for row in rows if _property(row, 'stored_framing')]
  past = [
    row
    for row in framed
    if crops.reach * _property(row, 'stored_framing') > _REACH
  ]
  lines = []
  if past:
    margin = 1 / max(_property(row, 'stored_framing') for row in past)
    lines.append(
      f'WARNING: crops of up to {crops.reach:.3g} times the face reach past '
      f'the stored pictures of {len(past)} of {len(rows)} clips, which show '
      f'{margin:.3g} times the face: border pixels are repeated there. Prepare '
      f'with --margin={crops.reach:.3g} or more, or crop less '
      '(config.augmentation.face_scale, .shift, config.data.eval_face_scale).'
    )
  shrunk = [
    ratio
    for row in framed
    if (
      ratio := crops.scale
      * _property(row, 'stored_framing')
      * (_property(row, 'stored_side') or 0)
      / crops.size
    )
    > WARN_SHRINK
  ]
  if shrunk:
    lines.append(
      f'WARNING: crops of {len(shrunk)} of {len(rows)} clips are shrunk up to '
      f'{max(shrunk):.2g} times to {crops.size} pixels, without averaging: '
      'fine texture, which gives attacks away, turns into patterns that are '
      'not there. Prepare with --config=small and give '
      '--config.data.builder_config=small, or raise config.data.image_size.'
    )
  return lines


def copies(rows: Iterable[Row]) -> list[tuple[Row, Row]]:
  """Pairs of clips with the same frames, depth maps and face box.

  Those without a digest, of builds of earlier versions, are left out.
  """
  first, pairs = {}, []
  for row in rows:
    if 'digest' in row and first.setdefault(row['digest'], row) is not row:
      pairs.append((first[row['digest']], row))
  return pairs


def copy_lines(sets: Mapping[str, Sequence[Row]]) -> list[str]:
  """A warning of clips with the same frames in two sets; [] without any.

  Args:
    sets: name -> its rows. A set that is the same as an earlier one adds
      nothing.
  """
  places, seen = collections.defaultdict(dict), []
  for name, rows in sets.items():
    if any(rows is other for other in seen):
      continue
    seen.append(rows)
    for row in rows:
      if 'digest' in row:
        places[row['digest']].setdefault(name, row)
  pairs = collections.defaultdict(list)
  for found in places.values():
    if len(found) > 1:
      names = [f'{row["dataset"]}/{row["clip_id"]}' for row in found.values()]
      pairs[tuple(found)].append(names)
  return [
    f'WARNING: {len(clips)} clips are both in {" and in ".join(names)}: the '
    f'same frames, such as {" and ".join(map(repr, clips[0]))}.'
    for names, clips in pairs.items()
  ]


def run_lines(
  rows: Sequence[Row],
  fusion: str,
  judged: Mapping[str, Sequence[Row]],
  crops: Crops,
) -> list[str]:
  """What a run should say of its clips before it starts.

  Args:
    rows: the training clips.
    fusion: of the network's input.
    judged: name of a set -> its rows, see `other_box_lines`.
    crops: of the training and of the evaluation after it.
  """
  whole = [row for row in rows if _property(row, 'box') == 'whole_frame']
  lines = []
  if whole:
    lines.append(
      f'Without a face box: {count(whole)} of {count(rows)} training clips. '
      'Their whole frame is taken for the face, so that it covers fewer pixels '
      'and the background is scored too.'
    )
  lines += other_box_lines(box_sources(rows), judged)
  lines += copy_lines({'train': rows, **judged})
  lines += crop_lines(rows, crops)
  return lines + still_lines(rows, static=fusion == 'static')
