import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax.models import architecture, search_spaces
from nasfas_jax.models.search_spaces import (
  LEVELS,
  SPACES,
  Space,
  cell_edges,
  get_space,
  num_edges,
)


def filled(num_ops=8, num_nodes=2, alphas=None):
  edges = num_edges(num_nodes)
  if alphas is None:
    alphas = jnp.zeros((1, edges, num_ops))
  return {
    'alphas': dict.fromkeys(LEVELS, alphas),
    'betas': dict.fromkeys(LEVELS, jnp.zeros((1, edges))),
    'nodes': dict.fromkeys(LEVELS, jnp.zeros((1, num_nodes))),
  }


@pytest.mark.parametrize('space', SPACES)
def test_shapes_and_scale(space, key):
  arch = architecture.init_arch(key, space=space, num_cells=2, num_nodes=4)
  for level in LEVELS:
    assert arch['alphas'][level].shape == (
      2,
      10,
      len(get_space(space).operations),
    )
    assert arch['betas'][level].shape == (2, 10)
    assert arch['nodes'][level].shape == (2, 4)
  spread = np.std(arch['alphas']['low'])
  assert 5e-4 < spread < 2e-3


def test_edges_are_ordered_by_target():
  assert cell_edges(3) == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


def test_an_unknown_space_names_the_known_ones():
  with pytest.raises(ValueError, match="'darts'; allowed: cdcnpp, nasfas"):
    get_space('darts')


@pytest.mark.parametrize(
  ('space', 'message'),
  [
    (Space(()), "space 'odd'.*at least one other than 'none'"),
    (Space(('none',)), "space 'odd'.*at least one other than 'none'"),
    (Space(('cdc_3x3', 'none', 'cdc_3x3')), "'odd': operations cdc_3x3 repea"),
    (Space(('cdc_3x3',), edges_per_node=0), "'odd': edges_per_node is 0"),
    (Space(('cdc_3x3',), output='best'), "'best'; allowed: strongest, all"),
  ],
)
def test_a_space_that_makes_no_sense_is_refused_by_name(
  space, message, monkeypatch
):
  monkeypatch.setitem(search_spaces.SPACES, 'odd', space)
  with pytest.raises(ValueError, match=message):
    get_space('odd')


def test_a_search_of_one_operation_has_no_entropy_and_no_skips(
  key, monkeypatch
):
  monkeypatch.setitem(SPACES, 'one', Space(('cdc_5x5',)))
  arch = architecture.init_arch(key, space='one', num_cells=1, num_nodes=2)
  assert float(architecture.alpha_entropy(arch)) == 0
  assert float(architecture.skip_share(arch, 'one')) == 0
  assert float(architecture.skip_edge_share(arch, 'one')) == 0


def test_skips_are_counted_wherever_they_stand_in_the_space(monkeypatch):
  monkeypatch.setitem(
    SPACES, 'last', Space(('cdc_3x3', 'none', 'skip_connect'))
  )
  # 'none' is strongest on the first edge, which counts by its second.
  alphas = jnp.array([[[0.0, 9.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
  arch = filled(alphas=alphas)
  shares = np.exp(alphas[0]) / np.exp(alphas[0]).sum(-1, keepdims=True)
  assert float(architecture.skip_share(arch, 'last')) == pytest.approx(
    shares[:, 2].mean()
  )
  found = float(architecture.skip_edge_share(arch, 'last'))
  assert found == pytest.approx(2 / 3)


def test_mixing_weights_hand_worked():
  arch = filled(num_nodes=2)
  arch['alphas'] = {
    level: arch['alphas'][level].at[..., 2].set(np.log(3.0)) for level in LEVELS
  }
  # Edges (0, 1), (0, 2), (1, 2): the first is alone at its node.
  arch['betas'] = {
    level: jnp.array([[5.0, 0.0, np.log(3.0)]], jnp.float32) for level in LEVELS
  }
  weights = architecture.mixing_weights(arch, num_nodes=2)
  for level in LEVELS:
    expected = np.full((1, 3, 8), 0.1)
    expected[..., 2] = 0.3
    np.testing.assert_allclose(weights['alphas'][level], expected, rtol=1e-6)
    np.testing.assert_allclose(
      weights['betas'][level], [[1.0, 0.25, 0.75]], rtol=1e-6
    )
    np.testing.assert_allclose(weights['nodes'][level], [[0.5, 0.5]])


def test_a_low_temperature_sharpens():
  arch = filled()
  arch['alphas'] = {
    level: arch['alphas'][level].at[..., 1].set(1.0) for level in LEVELS
  }
  weights = architecture.mixing_weights(arch, num_nodes=2, temperature=0.1)
  expected = np.exp(10.0) / (np.exp(10.0) + 7)
  np.testing.assert_allclose(
    weights['alphas']['mid'][..., 1], expected, rtol=1e-5
  )


def test_gumbel_samples_follow_the_softmax(key):
  """The largest of logits plus Gumbel noise falls on i with softmax's odds."""
  logits = jnp.log(jnp.array([0.5, 0.3, 0.2]))
  arch = filled(alphas=jnp.tile(logits, (1, 3, 1)))

  def chosen(k):
    weights = architecture.mixing_weights(arch, num_nodes=2, key=k)
    return jnp.argmax(weights['alphas']['low'][0], axis=-1)

  picks = np.asarray(jax.vmap(chosen)(jax.random.split(key, 2000))).ravel()
  shares = np.bincount(picks, minlength=3) / picks.size
  np.testing.assert_allclose(shares, [0.5, 0.3, 0.2], atol=0.025)


def test_gumbel_samples_sum_to_one_and_depend_on_the_key(key):
  arch = filled()
  first = architecture.mixing_weights(arch, num_nodes=2, key=key)
  other = architecture.mixing_weights(arch, num_nodes=2, key=jax.random.key(1))
  np.testing.assert_allclose(
    first['alphas']['low'].sum(-1), np.ones((1, 3)), rtol=1e-6
  )
  assert not np.allclose(first['alphas']['low'], other['alphas']['low'])


def test_entropy_of_uniform_and_of_certain():
  assert float(architecture.alpha_entropy(filled())) == pytest.approx(1.0)
  arch = filled()
  arch['alphas'] = {
    level: arch['alphas'][level].at[..., 3].set(100.0) for level in LEVELS
  }
  assert float(architecture.alpha_entropy(arch)) == pytest.approx(0, abs=1e-6)


def test_entropy_hand_worked():
  logits = jnp.log(jnp.array([0.5, 0.25, 0.25]))
  arch = filled(alphas=jnp.tile(logits, (1, 3, 1)))
  expected = (0.5 * np.log(2) + 0.5 * np.log(4)) / np.log(3)
  assert float(architecture.alpha_entropy(arch)) == pytest.approx(expected)


def test_skip_share_hand_worked():
  assert float(architecture.skip_share(filled(), 'cdcnpp')) == pytest.approx(
    1 / 8
  )
  arch = filled()
  # 'none' is strongest everywhere, skip_connect second on one of three edges.
  alphas = jnp.zeros((1, 3, 8)).at[..., 0].set(5.0)
  alphas = alphas.at[0, 0, 1].set(1.0).at[0, 1:, 4].set(1.0)
  arch['alphas'] = dict.fromkeys(LEVELS, alphas)
  assert float(architecture.skip_edge_share(arch, 'cdcnpp')) == pytest.approx(
    1 / 3
  )
