import math
import re
import types

import ml_collections
import pytest

from nasfas_configs import default as default_config
from nasfas_configs import search as search_config
from nasfas_configs import train as train_config
from nasfas_configs import variants
from nasfas_jax import config_checks, run_config, search, train
from nasfas_jax.data import protocols
from nasfas_jax.models import search_spaces


def set_field(config, path, value):
  *parents, name = path.split('.')
  for parent in parents:
    config = config[parent]
  config[name] = value


@pytest.mark.parametrize(
  'name',
  [
    *('', *variants.names(search_config.GROUPS)),
    *('evolution,domain', 'paper,type', 'bf16,debug,second_order'),
  ],
)
def test_the_shipped_configs_pass(name):
  config = search_config.get_config(name)
  # Fake devices may not divide the published batch of 12.
  config.search.batch_size = config.train.batch_size = 16
  search.check(config)


@pytest.mark.parametrize('name', ['', 'debug', 'paper,bf16'])
def test_the_shipped_trainings_pass(name):
  config = train_config.get_config(name)
  config.model = 'cdcn'
  config.train.batch_size = 16
  train.check(config)


@pytest.mark.parametrize(
  ('path', 'value', 'allowed'),
  [
    ('data.balance', 'type', "'', class, domain, domain_class"),
    ('input.fusion', 'sum', 'static, dynamic, blend, concat, two_stream'),
    ('input.rank_pooling', 'none', 'approximate, linear, exact'),
    ('input.normalization', 'batch', 'fixed, clip'),
    ('dtype', 'float16', 'auto, float32, bfloat16'),
    ('supernet.space', 'darts', 'cdcnpp, nasfas, vanilla'),
    ('train.schedule', 'linear', 'constant, cosine, step'),
    ('threshold_source', 'test', "'', dev, train"),
    ('threshold', 'run', 'allowed: eer, apcer=RATE or bpcer=RATE with a rate'),
    ('log_every', 0, '1 to 1000000000'),
    ('search.weight_schedule', 'step', 'constant, cosine'),
    ('supernet.num_nodes', 17, '1 to 16'),
    ('train.num_steps', 0, '1 to 1000000000'),
    ('evaluate.bootstrap_samples', 0, '1 to 1000000'),
    ('search.temperature', 0.0, 'above 0'),
    ('search.cost_weight', -1.0, '0 to 1e+06'),
    ('search.cost', 'seconds', 'parameters, macs'),
    ('train.learning_rate', float('nan'), 'above 0'),
    (
      'search.warmup_steps',
      8,
      'with 8 steps in config.search.num_steps: 0 to 7',
    ),
    ('train.batch_size', 3, 'a positive multiple of the number of devices, 2'),
    (
      'meta.anneal_steps',
      9,
      'with one inner step (config.meta.inner_steps) or without',
    ),
    ('seed', -2, '0 to 2147483548'),
    # A stream adds to it.
    ('seed', 2**31 - 1, '0 to 2147483548'),
    ('search.hold_out', 'subject', 'none, domain, type, domain_type'),
    ('model', 'cdcn', "'genotype'"),
    ('genotype', 'x.json', "''"),
  ],
)
def test_a_bad_value_is_named_with_what_is_allowed(path, value, allowed):
  config = search_config.get_config('debug')
  set_field(config, path, value)
  with pytest.raises(ValueError, match=re.escape(allowed)) as caught:
    search.check(config)
  assert f'config.{path}' in str(caught.value)
  assert str(value) in str(caught.value)


@pytest.mark.parametrize(
  ('variant', 'path'),
  [
    ('plain', 'meta.learn_inner_lr'),
    ('plain', 'meta.domain_statistics'),
    ('evolution,domain', 'meta.shard_optimizer'),
    ('evolution', 'search.second_order'),
    ('random', 'search.gumbel'),
  ],
)
def test_what_would_change_nothing_is_refused(variant, path):
  config = search_config.get_config(variant)
  config.train.batch_size = config.search.batch_size = 8
  search.check(config)
  set_field(config, path, True)
  with pytest.raises(ValueError, match=f'config.{path} is True; allowed'):
    search.check(config)


@pytest.mark.parametrize('variant', ['evolution', 'random', 'perturbation'])
def test_only_a_search_by_strength_weighs_the_cost(variant):
  config = search_config.get_config(variant)
  config.search.cost_weight = 0.5
  with pytest.raises(ValueError, match='config.search.cost_weight is 0.5; all'):
    search.check(config)


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('depth', -1.0, "config.loss: .*'depth' is -1.0; allowed: 0 or more"),
    ('depth', 0.0, 'config.loss: .*at least one of depth'),
  ],
)
def test_the_weights_of_the_loss_are_checked(field, value, message):
  config = search_config.get_config('debug')
  config.loss.contrastive_depth = 1.0 if value else 0.0
  config.loss[field] = value
  with pytest.raises(ValueError, match=message):
    search.check(config)


@pytest.mark.parametrize('space', ['cdcnpp', 'nasfas'])
def test_a_search_for_the_strongest_node_weighs_the_nodes(space):
  config = search_config.get_config('debug')
  config.supernet.update(space=space, node_attention=False)
  if search_spaces.get_space(space).output == search_spaces.ALL:
    search.check(config)
    return
  with pytest.raises(ValueError, match='node_attention is False; allowed .*'):
    search.check(config)


def evolving():
  config = search_config.get_config('evolution')
  config.train.batch_size = config.search.batch_size = 8
  search.check(config)
  return config


def test_an_evolution_scores_the_networks_of_its_genotypes():
  config = evolving()
  config.supernet.node_attention = False
  with pytest.raises(ValueError, match='node_attention is False; allowed in a'):
    search.check(config)
  config = search_config.get_config('random')
  config.supernet.node_attention = False
  search.check(config)


@pytest.mark.parametrize('variant', ['evolution', 'perturbation'])
def test_an_edge_that_is_taken_away_passes_nothing(variant):
  config = search_config.get_config(variant)
  config.train.batch_size = config.search.batch_size = 8
  config.supernet.edge_normalization = False
  message = 'config.supernet.edge_normalization is False; allowed with .* 4 in'
  with pytest.raises(ValueError, match=message):
    search.check(config)
  config.supernet.partial_channels = 1
  search.check(config)


def test_the_network_has_the_theta_of_the_space():
  config = search_config.get_config('debug')
  config.supernet.space = 'vanilla'
  search.check(config)
  config.network.theta = 0.7
  message = (
    "config.network.theta is 0.7; allowed with .* 'vanilla': 0.0, or not"
  )
  with pytest.raises(ValueError, match=message):
    search.check(config)
  config.supernet.space = 'nasfas'
  search.check(config)


def test_an_evolution_breeds():
  config = search_config.get_config('evolution')
  config.train.batch_size = config.search.batch_size = 8
  config.evolution.evaluations = config.evolution.population
  with pytest.raises(
    ValueError, match='config.evolution.evaluations is 8; allowed: above'
  ):
    search.check(config)


def test_the_step_schedule_needs_its_steps():
  config = train_config.get_config('debug')
  config.model = 'cdcn'
  config.train.schedule = 'step'
  with pytest.raises(
    ValueError, match='config.train.step_size is 0; allowed: 1'
  ):
    train.check(config)


@pytest.mark.parametrize(
  ('path', 'value'),
  [
    ('checkpoint', 'runs/old'),
    ('scores', 'scores.csv'),
    ('adapted', True),
    ('train.step_size', 5),
  ],
)
def test_what_a_training_would_not_heed_is_refused(path, value):
  config = train_config.get_config('debug')
  config.model = 'cdcn'
  for one, check in (
    (config, train.check),
    (search_config.get_config('debug'), search.check),
  ):
    set_field(one, path, value)
    with pytest.raises(ValueError, match=f'config.{path} is {value!r}; allow'):
      check(one)


def test_only_a_search_by_gradient_has_a_warm_up():
  for variant in ('evolution', 'random'):
    config = search_config.get_config(variant)
    config.train.batch_size = config.search.batch_size = 8
    config.search.num_steps = 20
    assert config.search.warmup_steps > 20
    search.check(config)


def test_a_term_between_domains_is_no_loss_of_one_domain():
  config = search_config.get_config('type')
  config.train.batch_size = config.search.batch_size = 8
  config.meta.update(
    domain_statistics=True, support_size=16, query_size=16, num_tasks=2
  )
  search.check(config)
  config.loss.triplet = 0.1
  with pytest.raises(ValueError, match=r'loss\.triplet is 0\.1; allowed with'):
    search.check(config)


@pytest.mark.parametrize('norm', ['batch', 'group', 'instance'])
def test_batch_statistics_are_of_networks_that_have_them(norm):
  config = train_config.get_config('debug')
  choices = types.SimpleNamespace(norm=norm)
  chosen = types.SimpleNamespace(choices=choices)
  train.check_norm(config, chosen)
  for path, value in (
    ('evaluate.batch_norm', 'test'),
    ('train.domain_statistics', True),
  ):
    changed = ml_collections.ConfigDict(config.to_dict())
    set_field(changed, path, value)
    train.check_norm(changed, 'cdcnpp')
    if norm == 'batch':
      train.check_norm(changed, chosen)
      continue
    with pytest.raises(ValueError, match=f'config.{path} is {value!r}; allow'):
      train.check_norm(changed, chosen)


def test_a_domain_of_one_clip_is_refused_before_the_training():
  config = train_config.get_config('debug')
  config.protocol = 'synthetic_fas/unseen_rooms'
  config.evaluate.batch_norm = 'test_domain'
  field = protocols.get_protocol(config.protocol).domain_field
  rows = [{field: name} for name in ('a', 'a', 'b')]
  chosen = protocols.Selection([], rows[:2], rows[:2], 'dev')
  train.check_clips(config, chosen)
  chosen = protocols.Selection([], rows[:2], rows, 'dev')
  with pytest.raises(ValueError, match="evaluate.batch_norm is .*domain 'b'"):
    train.check_clips(config, chosen)


def test_exact_rank_pooling_bounds_the_frames():
  config = search_config.get_config('debug')
  config.input.rank_pooling, config.data.num_frames = 'exact', 33
  with pytest.raises(
    ValueError, match="config.data.num_frames is 33; .*'exact': 1 to 32"
  ):
    search.check(config)


def test_channels_that_do_not_divide_are_found_before_anything_is_computed():
  config = search_config.get_config('debug')
  config.supernet.partial_channels = 3
  with pytest.raises(
    ValueError, match='config.supernet: partial_channels is 3'
  ):
    search.check(config)


ABSURD = {
  int: (-1, 10**12),
  float: (-1.0, 1e12, math.nan, math.inf, -math.inf),
  str: ('absurd', '../x'),
  tuple: ((), (-1, 4), (8, 10**12), ('a', 'b'), (1,) * 99),
}


def test_every_field_of_the_default_refuses_what_is_absurd():
  """Or stands in a list that says why it need not."""
  fields = run_config.flatten(default_config.get_config())
  assert config_checks.ALLOWED.keys() <= fields.keys()
  assert config_checks.ELSEWHERE.keys() <= fields.keys()
  assert not config_checks.ALLOWED.keys() & config_checks.ELSEWHERE.keys()
  for path, default in fields.items():
    kind = float if default is None else type(default)
    if kind is bool:
      continue
    if path in config_checks.ELSEWHERE:
      assert config_checks.ELSEWHERE[path]
      continue
    for value in ABSURD[kind]:
      if path == 'data.builder_config' and value == 'absurd':
        # What is not prepared is said when it is looked for.
        continue
      config = search_config.get_config('debug')
      set_field(config, path, value)
      with pytest.raises(ValueError, match=f'config.{path} is ') as caught:
        config_checks.check(config)
      assert repr(value) in str(caught.value)
      assert '; allowed' in str(caught.value)
      assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
  ('path', 'value', 'allowed'),
  [
    ('augmentation.face_scale', (0.0, 0.0), '(low, high) with low at most'),
    ('augmentation.face_scale', (-1.28, -1.28), 'each 0.5 to 4.'),
    ('augmentation.face_scale', (1.4, 1.2), 'with low at most high'),
    ('augmentation.flip', 5.0, '0 to 1.'),
    ('augmentation.gamma', (-3.0, -2.0), 'each 0.1 to 10.'),
    ('augmentation.colour', -40.0, '0 to 255.'),
    ('data.eval_face_scale', 1e-9, '0.5 to 4.'),
    ('train.warmup_steps', 9, 'with 8 steps in config.train.num_steps: 0 to 8'),
  ],
)
def test_what_trained_to_a_full_report_is_refused(path, value, allowed):
  config = search_config.get_config('debug')
  set_field(config, path, value)
  with pytest.raises(ValueError, match=re.escape(allowed)) as caught:
    config_checks.check(config)
  assert f'config.{path} is {value!r}; allowed' in str(caught.value)


def test_the_weights_of_the_loss_refuse_what_is_absurd():
  for name in search_config.get_config().loss:
    for value in ABSURD[float]:
      if value == 1e12:
        # A weight is a matter of scale.
        continue
      config = search_config.get_config('debug')
      config.loss[name] = value
      with pytest.raises(ValueError, match=f"config.loss: .*{name}' is "):
        config_checks.check(config)


def test_convolutions_are_computed_again_with_the_rest_only():
  config = search_config.get_config()
  config.supernet.remat_convolutions = True
  wrong = 'config.supernet: remat_convolutions is True; allowed with remat='
  with pytest.raises(ValueError, match=wrong):
    search.check(config)
  config.supernet.remat = True
  search.check(config)
