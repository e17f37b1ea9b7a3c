"""Rules that set a threshold from scores, and what they need to be trusted."""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from nasfas_jax.metrics import fixed_rates, operating_points, rates

ALLOWED = (
  'eer, apcer=RATE or bpcer=RATE with a rate between 0 and 1 (apcer=0.05), or '
  'a number'
)
# With n clips and a true rate r, fewer than 3 / r clips can show no error by
# chance with a probability above 5 % (the rule of three).
CLIPS_PER_RATE = 3
# The fewest clips of a class for an EER point.
EER_CLIPS = 30


@dataclasses.dataclass(frozen=True)
class Rule:
  """How a threshold is set.

  Attributes:
    kind: 'eer', 'apcer', 'bpcer' or 'value'.
    number: the limit of the rate, or the value; None for 'eer'.
  """

  kind: str
  number: float | None = None


def parse(text: str) -> Rule:
  """The rule that a text names.

  Raises:
    ValueError: names the text and what is allowed.
  """
  name, _, number = text.strip().partition('=')
  wrong = f'the threshold is {text!r}; allowed: {ALLOWED}.'
  if text.strip() == 'eer':
    return Rule('eer')
  kind, number = (
    (name, number)
    if name in ('apcer', 'bpcer')
    else (
      'value',
      text.strip(),
    )
  )
  # Narrower than float(), which takes 'nan', '1_0' and the digits of any
  # script.
  if not re.fullmatch(r'[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?', number, re.A):
    raise ValueError(wrong)
  value = float(number)
  if not np.isfinite(value) or (kind != 'value' and not 0 < value < 1):
    raise ValueError(wrong)
  return Rule(kind, value)


def choose(
  rule: Rule,
  scores: np.ndarray,
  labels: np.ndarray,
  attack_types: Sequence[str],
) -> float:
  """The threshold that a rule sets on a set of clips.

  'apcer' takes the lowest operating point at which no attack type's APCER is
  above the limit, 'bpcer' the highest one at which BPCER is not above it. The
  threshold is midway between the adjacent scores.

  Args:
    rule: its kind is not 'value'.
    scores: floats [N], never of the clips that are to be judged.
    labels: ints [N], 1 live, 0 spoof.
    attack_types: strings [N].

  Raises:
    ValueError: if a class is missing that the rule needs.
  """
  if rule.kind == 'eer':
    return rates.eer_threshold(scores, labels)
  scores, live = operating_points.check_scores(
    scores, labels, attack_types=attack_types
  )
  wanted = live if rule.kind == 'bpcer' else ~live
  if not wanted.any():
    kind = 'live' if rule.kind == 'bpcer' else 'spoof'
    raise ValueError(
      f'The threshold rule {rule.kind}={rule.number:g} needs {kind} clips; '
      f'there are none among {len(scores)}.'
    )
  weights = np.ones((1, len(scores)), np.int64)
  curve = operating_points.count_errors(scores, live, weights)
  if rule.kind == 'apcer':
    types = np.asarray(attack_types, str)
    apcer = fixed_rates.worst_apcer(scores, live, types, weights)[0]
    column = int(np.argmax(apcer <= rule.number))
  else:
    bpcer = curve.rejected_live[0] / curve.num_live[0]
    column = int(np.sum(bpcer <= rule.number)) - 1
  if column == 0:
    # Accept-all: just below the lowest score.
    return float(np.nextafter(curve.values[0], -np.inf))
  return operating_points.midway(curve.values, column)


def describe(rule: Rule, split: str) -> str:
  """The rule in words, for results and reports."""
  if rule.kind == 'eer':
    return f'EER point of the {split} clips'
  if rule.kind == 'apcer':
    return (
      f'lowest threshold at which no attack type of the {split} clips has an '
      f'APCER above {100 * rule.number:g} %'
    )
  if rule.kind == 'bpcer':
    return (
      f'highest threshold at which BPCER of the {split} clips is at most '
      f'{100 * rule.number:g} %'
    )
  return 'given'


def warning(
  rule: Rule, labels: np.ndarray, attack_types: Sequence[str], split: str
) -> str:
  """Why a set of clips is too small for a rule; '' if it is not.

  Args:
    rule: the rule.
    labels: ints [N], 1 live, 0 spoof.
    attack_types: strings [N].
    split: name of the clips, for the message.
  """
  labels, types = np.asarray(labels), np.asarray(attack_types, str)
  num_live = int(np.sum(labels == 1))
  if rule.kind == 'eer':
    counts = {'live': num_live, 'spoof': len(labels) - num_live}
    needed = EER_CLIPS
    reason = 'to place an EER point'
  elif rule.kind == 'apcer':
    kinds, numbers = np.unique(types[labels == 0], return_counts=True)
    counts = dict(zip(kinds.tolist(), numbers.tolist(), strict=True))
  elif rule.kind == 'bpcer':
    counts = {'live': num_live}
  else:
    return ''
  if rule.kind != 'eer':
    needed = int(np.ceil(CLIPS_PER_RATE / rule.number - 1e-9))
    reason = f'to carry a rate of {100 * rule.number:g} %'
  few = [f'{n} {kind}' for kind, n in counts.items() if n < needed]
  if not few:
    return ''
  return (
    f'The {split} clips are too few {reason}: {", ".join(few)}; it takes '
    f'{needed} of each.'
  )


def extreme_warning(
  value: float, scores: np.ndarray, labels: np.ndarray, split: str
) -> str:
  """Why a threshold decides nothing on the clips that set it; '' if it does.

  Args:
    value: the threshold.
    scores: floats [N].
    labels: ints [N], 1 live, 0 spoof.
    split: name of the clips, for the message.
  """
  scores, live = np.asarray(scores), np.asarray(labels) == 1
  accepted = scores > value
  if accepted.all() and not live.all():
    return (
      f'The threshold rejects none of the {len(live)} {split} clips: it '
      f'accepts all {np.sum(~live)} attacks among them.'
    )
  if not accepted.any() and live.any():
    return (
      f'The threshold accepts none of the {len(live)} {split} clips: it '
      f'rejects all {np.sum(live)} live ones among them.'
    )
  return ''
