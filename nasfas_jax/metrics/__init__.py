"""Metrics of presentation attack detection, after ISO/IEC 30107-3.

Labels are 1 for live (bona fide) and 0 for spoof (attack), a score is evidence
for live, and a clip is accepted as live when score > threshold. FPR is the
share of spoofs accepted, TPR the share of live clips accepted.

Every function checks its input and raises ValueError for an empty split, a
score that is not finite, lengths that differ, a label outside {0, 1} and an
attack type that contradicts its label. A metric that needs a class the split
does not have is None, never a number. All results are plain Python values.
"""

from nasfas_jax.metrics.bootstrap import bootstrap_intervals
from nasfas_jax.metrics.rates import (
  apcer_by_type,
  auc,
  bpcer,
  eer,
  eer_threshold,
  roc,
  summarise,
  tpr_at_fpr,
)

__all__ = [
  'apcer_by_type',
  'auc',
  'bootstrap_intervals',
  'bpcer',
  'eer',
  'eer_threshold',
  'roc',
  'summarise',
  'tpr_at_fpr',
]
