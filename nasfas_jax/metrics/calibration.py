"""Scores as probabilities: fitted on one split, judged on another.

The probability is that of 'live' at equal chances of both classes, since the
share of attacks where a detector is used is not that of any dataset. For
another share of attacks s, log-odds shift by log((1 - s) / s).
"""

import dataclasses

import numpy as np

from nasfas_jax.metrics import operating_points

NUM_BINS = 10
_MAX_STEPS = 100


@dataclasses.dataclass(frozen=True)
class Calibration:
  """probability of live = 1 / (1 + exp(-(slope * score + offset)))."""

  slope: float
  offset: float


def fit(scores: np.ndarray, labels: np.ndarray) -> Calibration | None:
  """Platt scaling with both classes at equal weight.

  Minimises the cross entropy to Platt's targets, (n + 1) / (n + 2) and
  1 / (n + 2) with n the number of clips of the class (Platt, 1999), which keep
  the slope finite where the classes do not overlap.

  Args:
    scores: floats [N], of the dev split.
    labels: ints [N], 1 live, 0 spoof.

  Returns:
    The calibration; None if a class is missing. With one score for all clips
    the slope is 0.
  """
  scores, live = operating_points.check_scores(scores, labels)
  if live.all() or not live.any():
    return None
  with np.errstate(over='ignore', invalid='ignore'):
    scale = float(np.std(scores))
  if scale == 0 or not np.isfinite(scale):
    return Calibration(0.0, 0.0)
  location = float(np.mean(scores))
  z = (scores - location) / scale
  numbers = np.where(live, live.sum(), (~live).sum())
  target = np.where(live, numbers + 1, 1) / (numbers + 2)
  weights = balanced_weights(live)
  design = np.stack([z, np.ones_like(z)], axis=1)
  found = np.zeros(2)
  loss = _cross_entropy(design @ found, target, weights)
  # Newton's method with step halving: the loss is strictly convex.
  for _ in range(_MAX_STEPS):
    p = _sigmoid(design @ found)
    gradient = design.T @ (weights * (p - target))
    hessian = (design * (weights * p * (1 - p))[:, None]).T @ design
    step = np.linalg.solve(hessian + 1e-12 * np.eye(2), gradient)
    size = 1.0
    while size > 1e-6:
      new = found - size * step
      new_loss = _cross_entropy(design @ new, target, weights)
      if new_loss <= loss:
        break
      size /= 2
    else:
      break
    found, done = new, loss - new_loss < 1e-14
    loss = new_loss
    if done:
      break
  slope = float(found[0] / scale)
  return Calibration(slope, float(found[1] - slope * location))


def probability(calibration: Calibration, scores: np.ndarray) -> np.ndarray:
  """The probability of live at equal chances: float64 [N]."""
  scores = np.asarray(scores, np.float64)
  return _sigmoid(calibration.slope * scores + calibration.offset)


def judge(
  calibration: Calibration,
  scores: np.ndarray,
  labels: np.ndarray,
  threshold: float,
) -> dict[str, object] | None:
  """How well probabilities hold on a split, both classes at equal weight.

  Args:
    calibration: fitted on another split.
    scores: floats [N].
    labels: ints [N], 1 live, 0 spoof.
    threshold: live if score > threshold.

  Returns:
    None if a class is missing, else
    'log_loss' in nats (0.693 is a coin's) and 'brier' (0.25 is a coin's);
    'ece', the expected calibration error over ten bins of equal width;
    'expected_error', the share of wrong decisions that the probabilities
    foretell, beside 'error', the share that came (which is HTER);
    'bins': the bins with clips, each with its mean 'probability', share of
    'live' and number of 'clips'.
  """
  scores, live = operating_points.check_scores(scores, labels)
  if live.all() or not live.any():
    return None
  weights = balanced_weights(live)
  p = probability(calibration, scores)
  logits = calibration.slope * scores + calibration.offset
  accepted = scores > operating_points.check_threshold(threshold)
  places = np.minimum((p * NUM_BINS).astype(int), NUM_BINS - 1)
  bins = []
  gap = 0.0
  for place in np.unique(places):
    inside = places == place
    mass = weights[inside].sum()
    mean = float(weights[inside] @ p[inside] / mass)
    share = float(weights[inside] @ live[inside] / mass)
    gap += mass * abs(mean - share)
    bins.append(
      {'probability': mean, 'live': share, 'clips': int(inside.sum())}
    )
  return {
    'log_loss': _cross_entropy(logits, live.astype(np.float64), weights),
    'brier': float(weights @ (p - live) ** 2),
    'ece': float(gap),
    'expected_error': float(weights @ np.where(accepted, 1 - p, p)),
    'error': float(weights @ (accepted != live)),
    'bins': bins,
  }


def balanced_weights(live: np.ndarray) -> np.ndarray:
  """Weights float64 [N] that sum to 1/2 in each class."""
  return np.where(live, 0.5 / live.sum(), 0.5 / (~live).sum())


def _cross_entropy(logits, target, weights) -> float:
  losses = np.logaddexp(0.0, logits) - target * logits
  return float(weights @ losses)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
  return 0.5 * (1 + np.tanh(0.5 * logits))
