"""Files of torch.save under damage: read, or refused by one line."""

import io

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from fuzz_cases import CASES
from public_layout import PublicCDCNpp
from test_weights import cdcnpp

from nasfas_jax.baseline import public_names, weights

JUNK = (
  *(None, 3, 'x', [1.0], {'a': torch.zeros(1)}, torch.zeros(0)),
  *(torch.zeros(2, 2), torch.full((4,), torch.nan), torch.tensor(1)),
  *(torch.zeros(3, dtype=torch.complex64), torch.zeros(1, dtype=torch.bool)),
)


@pytest.mark.filterwarnings('ignore')
def test_a_file_with_other_bytes():
  rng = np.random.default_rng(0)
  whole = io.BytesIO()
  state = PublicCDCNpp(1, 2, map_size=4).state_dict()
  torch.save({name: state[name] for name in list(state)[:12]}, whole)
  taken = 0
  for _ in range(CASES):
    data = bytearray(whole.getvalue())
    for place in rng.integers(len(data), size=rng.integers(1, 5)):
      data[place] = rng.integers(256)
    if rng.integers(10) == 0:
      del data[rng.integers(len(data)) :]
    try:
      # What `load_checkpoint` does with the open file; 2,000 files take longer.
      found = weights._load(io.BytesIO(data), "'theirs.pth'")
    except ValueError as error:
      assert "'theirs.pth'" in str(error)
      assert len(str(error).splitlines()) == 1
    else:
      weights.check_values(found)
      taken += 1
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
