"""The PyTorch side of the benchmark of an accelerator, at the smallest size."""

import pytest

pytest.importorskip('torch')

from benchmarks import accelerator_steps, accelerator_twins


@pytest.mark.parametrize('kind', accelerator_twins.STEPS)
def test_a_section_runs(kind, monkeypatch):
  monkeypatch.setattr(accelerator_steps, 'REPEAT_SECONDS', 0.0)
  request = {'kind': kind, 'size': 'debug', 'batch': 2, 'form': 'bfloat16'}
  found = accelerator_twins.answer(
    {**request, 'compiled': False}, lambda part: None
  )
  assert found['ms_low'] <= found['ms'] <= found['ms_high']
  assert found['clips'] == (4 if kind == 'search' else 2)
