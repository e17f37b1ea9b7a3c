"""Weights between the frameworks: bit by bit, and readable refusals."""

import pathlib
import re

import jax
import numpy as np
import pytest

torch = pytest.importorskip('torch')

import small_twins as small
from public_layout import PublicCDCN, PublicCDCNpp

from nasfas_jax import models
from nasfas_jax.baseline import networks, public_names, weights
from nasfas_jax.models import genotypes


def assert_equal(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, y)


def cdcn():
  return networks.CDCN(
    3,
    stem_features=4,
    block_features=(4, 6, 4),
    head_features=(4, 2),
    output_size=4,
  )


def cdcnpp():
  return networks.Network(
    3,
    genotypes.CDCNPP,
    stem_features=(4, 6),
    cell_features=6,
    head_features=6,
    output_size=4,
  )


@pytest.mark.parametrize('name', small.NETWORKS)
def test_a_network_there_and_back_is_bit_equal(name):
  model = small.make_network(name)
  variables = small.draw_variables(model, small.images())
  twin = small.make_twin(model, variables)
  assert_equal(weights.to_flax(twin, twin.state_dict()), variables)


@pytest.mark.parametrize('name', small.SUPERNETS)
def test_a_supernet_there_and_back_is_bit_equal(name):
  model, arch = small.make_supernet(name)
  variables = small.draw_variables(model, small.images(), arch)
  twin = small.make_twin(model, variables)
  assert_equal(weights.to_flax(twin, twin.state_dict()), variables)


def test_the_pools_of_a_node_must_have_the_same_statistics():
  model, arch = small.make_supernet('nasfas')
  variables = small.draw_variables(model, small.images(), arch)
  state = small.make_twin(model, variables).state_dict()
  name = 'low_0.from_0_to_2.cd_max_pool_3x3.norm.running_mean'
  state[name][0] += 1.0
  with pytest.raises(ValueError, match=f'{re.escape(name)} differs'):
    weights.to_flax(small.make_twin(model, variables), state)


def small_public_cdcnpp():
  return PublicCDCNpp(4, 6, map_size=4)


@pytest.mark.parametrize(
  ('public', 'own'), [(PublicCDCN, cdcn), (small_public_cdcnpp, cdcnpp)]
)
def test_public_names_give_the_public_codes_map(public, own):
  torch.manual_seed(0)
  theirs, ours = public(), own()
  # One pass in training, so that the statistics are not as they start.
  theirs(torch.randn(2, 3, 16, 16))
  state = {f'module.{k}': v for k, v in theirs.state_dict().items()}
  state = {k.removeprefix('module.'): v for k, v in state.items()}
  ours.load_state_dict(public_names.to_own_names(ours, state))
  x = torch.randn(2, 3, 16, 16)
  with torch.no_grad():
    want, got = theirs.eval()(x), ours.eval()(x)
  assert want.max() > 0
  torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
  exported = public_names.to_public_names(ours, ours.state_dict())
  # Loads where they have it, counters included, and is bit-equal.
  theirs.load_state_dict(exported, strict=True)
  for name, value in state.items():
    torch.testing.assert_close(exported[name], value, rtol=0, atol=0)


@pytest.mark.parametrize(('stem', 'width'), [(64, 128), (80, 160)])
def test_a_cdcnpp_of_the_public_code_loads_our_weights_and_gives_ours(
  stem, width
):
  torch.manual_seed(0)
  ours = networks.Network(
    3,
    genotypes.CDCNPP,
    stem_features=(stem, width),
    cell_features=width,
    head_features=width,
  )
  x = torch.randn(1, 3, 16, 16)
  with torch.no_grad():
    ours(torch.randn(2, 3, 16, 16))  # Statistics that are not as they start.
    theirs = PublicCDCNpp(stem, width)
    theirs.load_state_dict(
      public_names.to_public_names(ours, ours.state_dict()), strict=True
    )
    want, got = theirs.eval()(x), ours.eval()(x)
  assert want.shape == (1, 32, 32)
  assert want.max() > 0
  torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
  back = public_names.to_own_names(ours, theirs.state_dict())
  assert back.keys() == ours.state_dict().keys()
  for name, value in ours.state_dict().items():
    assert torch.equal(back[name], value), name


def test_a_cdcnpp_of_the_public_code_gives_the_same_map_in_flax():
  torch.manual_seed(0)
  theirs, twin = small_public_cdcnpp(), cdcnpp()
  theirs(torch.randn(2, 3, 16, 16))
  state = public_names.to_own_names(twin, theirs.state_dict())
  variables = weights.to_flax(twin, state)
  model = models.build_model(
    'cdcnpp',
    stem_features=(4, 6),
    cell_features=6,
    head_features=6,
    output_size=4,
  )
  x = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
  got = jax.jit(lambda v, x: model.apply(v, x, train=False).map)(variables, x)
  with torch.no_grad():
    want = theirs.eval()(torch.from_numpy(x.transpose(0, 3, 1, 2))).numpy()
  assert want.max() > 0
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_public_weights_of_another_width_or_network_say_what_they_are():
  model, state = cdcnpp(), PublicCDCNpp(8, 16).state_dict()
  with pytest.raises(ValueError) as error:
    public_names.to_own_names(model, state)
  assert str(error.value).endswith(
    'It is of a cdcnpp with stem_features (8, 16), cell_features 16 and '
    'head_features 16.'
  )
  with pytest.raises(ValueError, match='It is of a cdcn with'):
    public_names.to_own_names(model, PublicCDCN().state_dict())


def test_a_state_that_does_not_fit_is_one_error_that_lists_it():
  model = cdcn()
  state = dict(public_names.to_public_names(model, model.state_dict()))
  del state['lastconv3.0.conv.weight']
  state['fc.weight'] = torch.zeros(3)
  state['conv1.0.conv.weight'] = torch.zeros(4, 6, 3, 3)
  with pytest.raises(ValueError) as error:
    public_names.to_own_names(model, state)
  message = str(error.value)
  assert '1 missing (lastconv3.0.conv.weight)' in message
  assert '1 unknown (fc.weight)' in message
  assert 'conv1.0.conv.weight [4, 6, 3, 3], not [4, 3, 3, 3]' in message
  with pytest.raises(ValueError, match='61 missing .* and 53 more') as error:
    public_names.to_own_names(model, {})
  assert '\n' not in str(error.value)


def test_flax_variables_that_do_not_fit_are_listed():
  model = cdcn()
  variables = weights.to_flax(model, model.state_dict())
  del variables['params']['stem_0']['conv']
  variables['params']['head']['conv']['kernel'] = np.zeros((3, 3, 9, 1))
  with pytest.raises(ValueError) as error:
    weights.from_flax(model, variables)
  assert '1 missing (params/stem_0/conv/kernel)' in str(error.value)
  assert 'head/conv/kernel [3, 3, 9, 1], not [3, 3, 2, 1]' in str(error.value)


def test_other_networks_have_no_public_names():
  model = networks.Network(
    3, small.EVERY_OPERATION, cell_features=4, stem_features=(2, 4)
  )
  with pytest.raises(ValueError, match='has no Network of these cells'):
    public_names.to_public_names(model, model.state_dict())


def test_other_stem_blocks_have_no_public_names():
  for stem in ((4,), (4, 5, 6)):
    twin = networks.Network(
      3,
      genotypes.CDCNPP,
      stem_features=stem,
      cell_features=stem[-1],
      head_features=4,
      output_size=4,
    )
    assert not public_names.has_public_names(twin)
    with pytest.raises(ValueError, match='The public CDCN code has no'):
      public_names.to_public_names(twin, twin.state_dict())


def test_what_wrappers_put_before_the_names_is_taken_off():
  twin = cdcnpp()
  state = twin.state_dict()
  for prefix in ('module.', '_orig_mod.', 'module._orig_mod.'):
    wrapped = {prefix + name: value for name, value in state.items()}
    assert_equal(weights.to_flax(twin, wrapped), weights.to_flax(twin, state))
    assert public_names.to_own_names(twin, wrapped).keys() == state.keys()


def test_a_missing_counter_is_written_as_zero():
  twin = cdcnpp()
  state = {
    name: value
    for name, value in twin.state_dict().items()
    if not name.endswith(weights.COUNTER)
  }
  public = public_names.to_public_names(twin, state)
  counters = [n for n in public if n.endswith(weights.COUNTER)]
  assert counters
  assert all(public[name].item() == 0 for name in counters)


@pytest.mark.parametrize('wrapped', [False, True])
def test_a_checkpoint_is_read_bare_or_wrapped(tmp_path, wrapped):
  state = {f'module.{k}': v for k, v in cdcn().state_dict().items()}
  path = tmp_path / 'model.pth'
  torch.save({'epoch': 3, 'state_dict': state} if wrapped else state, path)
  loaded = weights.load_checkpoint(path)
  assert loaded.keys() == cdcn().state_dict().keys()
  for name, value in loaded.items():
    assert torch.equal(value, state[f'module.{name}'])


class Malicious:
  def __reduce__(self):
    return pathlib.Path('ran').touch, ()


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (Malicious(), 'holds a Python object .*tensors only'),
    (torch.nn.Conv2d(1, 1, 1), r'object \(torch.nn.modules.conv.Conv2d\)'),
    ([1, 2], 'holds a list; allowed: a state_dict'),
    (
      {'epoch': 3, 'weights': torch.zeros(2)},
      'entries that are not tensors: epoch',
    ),
    (
      {'a.weight': torch.tensor([1.0, torch.nan]), 'b.bias': torch.ones(2)},
      r"'model.pth' holds 1 tensors with a NaN.* \(a.weight\)",
    ),
    ({'a.running_var': -torch.ones(1)}, r'negative variance \(a.running_var'),
    ({'a': torch.ones(2, dtype=torch.int8)}, r'real floating type \(a int8'),
    (
      {'module.a': torch.ones(2), 'a': torch.ones(2)},
      "'model.pth' holds two names of one tensor: module.a and a.",
    ),
  ],
)
def test_other_content_is_refused(tmp_path, monkeypatch, content, message):
  monkeypatch.chdir(tmp_path)
  torch.save(content, 'model.pth')
  with pytest.raises(ValueError, match=message) as error:
    weights.load_checkpoint('model.pth')
  assert len(str(error.value).splitlines()) == 1
  assert not pathlib.Path('ran').exists()


@pytest.mark.parametrize(
  'value', [torch.ones(2).to_sparse(), torch.ones(1).expand(1 << 50)]
)
def test_a_tensor_that_is_not_all_there_is_refused(value):
  with pytest.raises(ValueError, match=r'not dense numbers .*\(a float32'):
    weights.check_values({'a': value})


def test_what_is_refused_would_have_run(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  function, arguments = Malicious().__reduce__()
  function(*arguments)
  assert pathlib.Path('ran').exists()


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
  (tmp_path / 'model.pth').write_text('hello', encoding='utf-8')
  with pytest.raises(ValueError, match='is no PyTorch checkpoint'):
    weights.load_checkpoint(tmp_path / 'model.pth')
  with pytest.raises(FileNotFoundError):
    weights.load_checkpoint(tmp_path / 'none.pth')
