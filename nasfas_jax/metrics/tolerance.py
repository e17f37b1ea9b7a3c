"""What a few live clips can say about BPCER: exact binomial bounds.

Not imported by `nasfas_jax.metrics`: SciPy takes a second to load.
"""

import math

import numpy as np
from scipy import special


def upper_bound(
  rejected: int, num_live: int, confidence: float = 0.95
) -> float:
  """The one-sided upper confidence bound of BPCER (Clopper and Pearson, 1934).

  It also holds where the threshold was set just below the clip with rank
  `rejected` + 1 of the same clips, counted from the lowest score: the share of
  live clips below an order statistic has this very beta distribution (Wilks,
  1941). With none rejected it is 1 - (1 - confidence)^(1 / num_live).

  Args:
    rejected: number of live clips rejected.
    num_live: number of live clips; they are independent.
    confidence: chance that the bound holds.
  """
  if not 0 <= rejected <= num_live or num_live < 1:
    raise ValueError(
      f'{rejected} of {num_live} live clips are rejected; allowed: 0 to the '
      'number of clips, which is at least 1.'
    )
  if rejected == num_live:
    return 1.0
  return float(
    special.betaincinv(rejected + 1, num_live - rejected, confidence)
  )


def clips_needed(bpcer: float, confidence: float = 0.95) -> int:
  """The fewest live clips whose bound can be as low as a BPCER in (0, 1)."""
  needed = max(1, math.floor(math.log(1 - confidence) / math.log1p(-bpcer)))
  while upper_bound(0, needed, confidence) > bpcer:
    needed += 1
  return needed


def most_rejected(
  num_live: int, bpcer: float, confidence: float = 0.95
) -> int | None:
  """The most clips that may be rejected so that the bound keeps a BPCER.

  Returns:
    A number below num_live; None if even 0 is too many.
  """
  if upper_bound(0, num_live, confidence) > bpcer:
    return None
  low, high = 0, num_live
  # The bound grows with the number rejected, up to 1 at num_live.
  while high - low > 1:
    middle = (low + high) // 2
    if upper_bound(middle, num_live, confidence) <= bpcer:
      low = middle
    else:
      high = middle
  return low


def threshold_below(scores: np.ndarray, rejected: int) -> tuple[float, int]:
  """A threshold that rejects at most `rejected` of the clips.

  Args:
    scores: floats [N], finite, of live clips.
    rejected: below N.

  Returns:
    (threshold, number of clips that it rejects): just below the score of rank
    `rejected` + 1, with ties fewer are rejected.
  """
  ordered = np.sort(np.asarray(scores, np.float64))
  threshold = float(np.nextafter(ordered[rejected], -np.inf))
  return threshold, int(np.sum(ordered <= threshold))
