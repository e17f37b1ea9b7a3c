"""The baseline's loss and steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip('torch')

from nasfas_jax import losses
from nasfas_jax.baseline import steps, supernet
from nasfas_jax.models.outputs import Outputs

PUBLISHED = {'depth': 1.0, 'contrastive_depth': 1.0}


def live(depth):
  """The maps of live clips."""
  return {'depth': depth, 'label': torch.ones(len(depth), dtype=torch.int32)}


@pytest.mark.parametrize(
  'weights',
  [
    PUBLISHED,
    {'binary_mask': 0.5, 'contrastive_mask': 2.0},
    {
      'depth': 0.5,
      'contrastive_depth': 0.0,
      'binary_mask': 3.0,
      'contrastive_mask': 0.25,
    },
  ],
)
def test_the_loss_is_that_of_losses(weights):
  rng = np.random.default_rng(0)
  prediction, depth, mask = rng.random((3, 4, 5, 5), dtype=np.float32)
  maps = {
    'depth': depth,
    'face_mask': (mask > 0.5).astype(np.float32),
    'label': np.array([1, 0, 1, 1], np.int32),
  }
  want, _ = losses.make_objective(weights)(
    Outputs(jnp.asarray(prediction), {}), jax.tree.map(jnp.asarray, maps)
  )
  got = steps.make_loss(weights)(
    torch.from_numpy(prediction), jax.tree.map(torch.from_numpy, maps)
  )
  np.testing.assert_allclose(float(got), float(want), rtol=1e-6)


def test_a_term_without_a_twin_is_refused_by_name():
  steps.make_loss({**PUBLISHED, 'texture': 0.0})
  with pytest.raises(
    ValueError, match="'texture' has no .*allowed: depth, con"
  ):
    steps.make_loss({**PUBLISHED, 'texture': 0.5})


def test_a_clipped_training_step_is_as_long_as_the_clip():
  torch.manual_seed(0)
  model = torch.nn.Sequential(
    torch.nn.Conv2d(1, 1, 3, padding=1), torch.nn.Flatten(0, 1)
  )
  before = [p.detach().clone() for p in model.parameters()]
  batch = torch.randn(2, 1, 5, 5), live(torch.randn(2, 5, 5))
  optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
  steps.train_step(
    *(model, optimizer, batch),
    loss_fn=steps.make_loss(PUBLISHED),
    gradient_clip=0.01,
  )
  moved = [
    before_one - parameter.detach()
    for before_one, parameter in zip(before, model.parameters(), strict=True)
  ]
  length = torch.sqrt(sum(part.square().sum() for part in moved))
  assert float(length) == pytest.approx(0.01, rel=1e-3)


def test_a_search_step_moves_the_architecture_then_the_weights():
  torch.manual_seed(0)
  model = supernet.Supernet(
    2,
    space='cdcnpp',
    num_nodes=1,
    stem_features=(2, 4),
    cell_features=4,
    head_features=4,
    output_size=4,
    partial_channels=1,
  )
  arch = {
    kind: {
      level: torch.randn(1, size, requires_grad=True)
      for level in ('low', 'mid', 'high')
    }
    for kind, size in (('betas', 1), ('nodes', 1))
  }
  arch['alphas'] = {
    level: torch.randn(1, 1, 8, requires_grad=True)
    for level in ('low', 'mid', 'high')
  }
  held_out = torch.randn(2, 2, 8, 8), live(torch.rand(2, 4, 4))
  batch = torch.randn(2, 2, 8, 8), live(torch.rand(2, 4, 4))
  loss_fn = steps.make_loss(PUBLISHED)
  logits = steps.arch_tensors(arch)
  before = [tensor.detach().clone() for tensor in logits]
  loss = loss_fn(model(held_out[0], arch), held_out[1])
  gradients = torch.autograd.grad(loss, logits)
  after = [
    (b - 0.5 * g).requires_grad_(False)
    for b, g in zip(before, gradients, strict=True)
  ]
  weights = [p.detach().clone() for p in model.parameters()]
  found = steps.search_step(
    model,
    arch,
    torch.optim.SGD(model.parameters(), lr=0.1),
    torch.optim.SGD(logits, lr=0.5),
    batch,
    held_out,
    loss_fn=loss_fn,
  )
  for got, want in zip(logits, after, strict=True):
    torch.testing.assert_close(got.detach(), want)
  assert any(g.abs().max() > 0 for g in gradients)
  # The weights' loss is that of the new architecture and the old weights.
  with torch.no_grad():
    moved = [p.clone() for p in model.parameters()]
    for parameter, old in zip(model.parameters(), weights, strict=True):
      parameter.copy_(old)
    want = loss_fn(model(batch[0], arch), batch[1])
  torch.testing.assert_close(found, want)
  assert any(not torch.equal(a, b) for a, b in zip(moved, weights, strict=True))
