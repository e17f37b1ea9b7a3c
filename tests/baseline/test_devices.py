"""Where the timed twins run."""

import pytest

torch = pytest.importorskip('torch')

from nasfas_jax.comparison import devices


@pytest.mark.parametrize(
  ('platform', 'has_cuda', 'expected'),
  [
    ('gpu', True, 'cuda'),
    ('cuda', True, 'cuda'),
    ('gpu', False, 'cpu'),
    ('cpu', True, 'cpu'),
    ('tpu', True, 'cpu'),
  ],
)
def test_twins_run_where_jax_does_if_they_can(platform, has_cuda, expected):
  assert devices.twin_device(platform, has_cuda) == expected


def test_tensors_are_moved_at_any_depth():
  # 'meta' stands for a device that is not there.
  wanted = torch.ones(2, requires_grad=True)
  images, maps = devices.place(
    (torch.ones(1, 3, 4, 4), {'depth': torch.ones(1), 'arch': wanted}), 'meta'
  )
  assert images.device.type == maps['depth'].device.type == 'meta'
  assert maps['arch'].is_leaf and maps['arch'].requires_grad
  module = devices.place_module(torch.nn.Conv2d(1, 1, 1), 'meta')
  assert module.weight.device.type == 'meta'
