"""What one device of several has to do in a compiled program."""

import jax
import numpy as np

from nasfas_jax import sharding
from nasfas_jax.ops import convolution


def as_on_accelerators(monkeypatch):
  """Convolutions in the form of TPUs: grouped by a vmap over kernels."""
  monkeypatch.setattr(convolution, 'CPU_FORMS', frozenset())


def share(compile_step, monkeypatch):
  """The operations of a device, as a share of those of one that is alone.

  Args:
    compile_step: () -> a compiled program for the devices of
      `sharding.make_mesh`.
    monkeypatch: of the test.
  """
  many = compile_step()
  with monkeypatch.context() as patch:
    alone = sharding.one_device()
    patch.setattr(sharding, 'make_mesh', lambda *unused: alone)
    one = compile_step()
  return many.cost_analysis()['flops'] / one.cost_analysis()['flops']


def raw_clips(*shape, frames, size):
  """The shapes of raw batches, see `data.pipeline.train_batches`."""
  fields = {
    'frames': ((frames, size, size, 3), np.uint8),
    'frame_size': ((2,), np.int32),
    'depth': ((8, 8), np.uint8),
    'has_depth': ((), np.bool_),
    'face_box': ((4,), np.float32),
    **{name: ((), np.int32) for name in ('place', 'label', 'domain')},
  }
  return {
    name: jax.ShapeDtypeStruct((*shape, *of_clip), dtype)
    for name, (of_clip, dtype) in fields.items()
  }
