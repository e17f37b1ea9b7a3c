"""Files of torch.save under damage: read, or refused by one line."""

import io

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from public_layout import PublicCDCNpp
from test_weights import cdcnpp

from nasfas_jax.baseline import public_names, weights

CASES = 2000
JUNK = (
  *(None, 3, 'x', [1.0], {'a': torch.zeros(1)}, torch.zeros(0)),
  *(torch.zeros(2, 2), torch.full((4,), torch.nan), torch.tensor(1)),
  *(torch.zeros(3, dtype=torch.complex64), torch.zeros(1, dtype=torch.bool)),
)


def read(path, twin):
  """The state of a file, under our names."""
  return public_names.to_own_names(twin, weights.load_checkpoint(path))


def assert_refused_or_right(path, twin):
  try:
    state = read(path, twin)
  except ValueError as error:
    assert 'network' in str(error) or str(path) in str(error)
    assert len(str(error).splitlines()) == 1
    return False
  variables = weights.to_flax(twin, state)
  assert variables.keys() == {'params', 'batch_stats'}
  return True


@pytest.mark.filterwarnings('ignore')
def test_a_file_with_other_bytes(tmp_path):
  rng = np.random.default_rng(0)
  twin = cdcnpp()
  whole = io.BytesIO()
  torch.save(PublicCDCNpp(4, 6, map_size=4).state_dict(), whole)
  path, taken = tmp_path / 'theirs.pth', 0
  for _ in range(CASES):
    data = bytearray(whole.getvalue())
    # Names and shapes are in the first bytes and at the end.
    low, high = ((0, 12_000), (len(data) - 9000, len(data)), (0, len(data)))[
      rng.integers(3)
    ]
    for place in rng.integers(low, high, size=rng.integers(1, 5)):
      data[place] = rng.integers(256)
    if rng.integers(10) == 0:
      del data[rng.integers(len(data)) :]
    path.write_bytes(data)
    taken += assert_refused_or_right(path, twin)
  # PyTorch notices some of the bytes, not those of a weight that stays finite.
  assert 0 < taken < CASES


def test_a_state_with_other_tensors():
  rng = np.random.default_rng(0)
  twin = cdcnpp()
  state = PublicCDCNpp(4, 6, map_size=4).state_dict()
  names, taken = list(state), 0
  for _ in range(CASES):
    changed = dict(state)
    for name in rng.choice(names, size=rng.integers(1, 3)):
      kind = rng.integers(4)
      if kind == 0:
        changed.pop(name, None)
      elif kind == 1:
        changed[f'module.{name}'] = state[name]
      else:
        changed[str(name)] = JUNK[rng.integers(len(JUNK))]
    try:
      own = public_names.to_own_names(twin, weights.checked(changed))
    except ValueError as error:
      assert len(str(error).splitlines()) == 1
      continue
    # Counters may be missing, or anything.
    taken += 1
    for name, value in weights.to_flax(twin, own).items():
      assert name in ('params', 'batch_stats') and value
  assert 0 < taken < CASES / 2
