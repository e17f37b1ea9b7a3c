"""Published figures on OULU-NPU, measured by others.

NAS-FAS is from arXiv 2011.02062. CDCN and CDCN++ are from arXiv 2003.04092 and
tables that cite it. ACER = (APCER + BPCER) / 2 before rounding.
"""


def _acer(*figures: tuple[float, float]) -> tuple[dict, ...]:
  return tuple({'acer': figure} for figure in figures)


_METHODS = {
  'NAS-FAS': (
    {'apcer': (0.4, 0), 'bpcer': (0.0, 0), 'acer': (0.2, 0)},
    {'apcer': (1.5, 0), 'bpcer': (0.8, 0), 'acer': (1.2, 0)},
    {'apcer': (2.1, 1.3), 'bpcer': (1.4, 1.1), 'acer': (1.7, 0.6)},
    {'apcer': (4.2, 5.3), 'bpcer': (1.7, 2.6), 'acer': (2.9, 2.8)},
  ),
  'CDCN++': _acer((0.2, 0), (1.3, 0), (1.8, 0.7), (5.0, 2.9)),
  'CDCN': _acer((1.0, 0), (1.5, 0), (2.3, 1.4), (6.9, 2.9)),
}
PUBLISHED = {
  f'oulu_npu/{number}': {
    method: figures[number - 1] for method, figures in _METHODS.items()
  }
  for number in (1, 2, 3, 4)
}
