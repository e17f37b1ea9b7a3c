import binascii
import errno
import gc
import os
import shutil
import struct
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from nasfas_jax import (
  checkpoints,
  files,
  hosts,
  optimizers,
  sharding,
  states,
)


def make_state(value):
  params = {'a': jnp.full((4, 2), value), 'b': {'c': jnp.float32(value)}}
  optimizer = optimizers.adam_l2(0.1)
  return states.TrainState(
    step=jnp.int32(value),
    params=params,
    batch_stats={'m': jnp.full(3, value)},
    opt_state=optimizer.init(params),
  )


def assert_equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_without_a_checkpoint_the_given_state_comes_back(tmp_path):
  with checkpoints.Checkpointer(tmp_path / 'x') as saver:
    state, step = saver.restore_or(make_state(1.0))
  assert step == 0
  assert_equal(state, make_state(1.0))


def test_the_newest_of_several_is_restored_and_old_ones_go(tmp_path):
  with checkpoints.Checkpointer(tmp_path, keep=2) as saver:
    for step in (1, 2, 3):
      saver.save(step, make_state(float(step)))
  with checkpoints.Checkpointer(tmp_path) as saver:
    state, step = saver.restore_or(make_state(0.0))
  assert step == 3
  assert_equal(state, make_state(3.0))
  assert sorted(p.name for p in tmp_path.iterdir() if p.name.isdigit()) == [
    '2',
    '3',
  ]


def test_what_an_interrupted_save_left_is_not_restored(tmp_path):
  with checkpoints.Checkpointer(tmp_path) as saver:
    saver.save(5, make_state(5.0))
  (tmp_path / '7.orbax-checkpoint-tmp').mkdir()
  (tmp_path / '7.orbax-checkpoint-tmp' / 'state').mkdir()
  with checkpoints.Checkpointer(tmp_path) as saver:
    state, step = saver.restore_or(make_state(0.0))
  assert step == 5
  assert_equal(state, make_state(5.0))


def test_saved_on_one_device_restored_replicated_on_all(tmp_path):
  with checkpoints.Checkpointer(tmp_path) as saver:
    saver.save(1, make_state(1.0))
  everywhere = NamedSharding(sharding.make_mesh(), PartitionSpec())
  target = jax.device_put(make_state(0.0), everywhere)
  with checkpoints.Checkpointer(tmp_path) as saver:
    state, _ = saver.restore_or(target)
  assert state.params['a'].sharding == everywhere
  assert_equal(state, make_state(1.0))


def test_variables_alone_can_be_restored(tmp_path):
  with checkpoints.Checkpointer(tmp_path) as saver:
    saver.save(2, make_state(2.0))
  template = {
    'params': make_state(0.0).params,
    'batch_stats': make_state(0.0).batch_stats,
  }
  variables, step = checkpoints.restore_variables(tmp_path, template)
  assert step == 2
  assert_equal(variables['params'], make_state(2.0).params)
  assert_equal(variables['batch_stats'], make_state(2.0).batch_stats)


def test_no_checkpoint_is_a_clear_error(tmp_path):
  with pytest.raises(FileNotFoundError, match='There is no checkpoint in'):
    checkpoints.restore_variables(tmp_path, {'params': {}, 'batch_stats': {}})


def save_two(folder):
  with checkpoints.Checkpointer(folder) as saver:
    for step in (1, 2):
      saver.save(step, make_state(float(step)))


def drop(name):
  return lambda path: shutil.rmtree(path / name)


def flip_in_state(path):
  """One bit of each of the files that hold the arrays."""
  for file in (path / 'state').rglob('d/*'):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def truncate_state(path):
  for file in (path / 'state').rglob('*'):
    if file.is_file():
      os.truncate(file, file.stat().st_size // 2)


def change_record(path):
  """A record that is whole JSON, but not what was written."""
  (file,) = (path / 'data').glob('metadata')
  file.write_text(file.read_text().replace('"int32"', '"int64"'))


DAMAGES = [
  drop('state'),
  drop('data'),
  flip_in_state,
  truncate_state,
  change_record,
]


@pytest.fixture
def collected():
  """What a test drops is collected while its filters of warnings hold."""
  yield
  gc.collect()


def damages(test):
  """Of tests that damage: Orbax drops all readings when one of them fails."""
  ignore = 'ignore::pytest.PytestUnraisableExceptionWarning'
  return pytest.mark.usefixtures('collected')(
    pytest.mark.filterwarnings(ignore)(test)
  )


@damages
@pytest.mark.parametrize('damage', DAMAGES)
def test_a_damaged_newest_one_is_passed_over_aloud(tmp_path, capsys, damage):
  save_two(tmp_path)
  damage(tmp_path / '2')
  template = {'params': make_state(0.0).params}
  variables, step = checkpoints.restore_variables(tmp_path, template)
  said = capsys.readouterr().err
  assert step == 1
  assert_equal(variables['params'], make_state(1.0).params)
  assert 'damaged checkpoints in' in said and 'of step 2' in said
  with checkpoints.Checkpointer(tmp_path) as saver:
    state, step = saver.restore_or(make_state(0.0))
    assert step == 1
    assert_equal(state, make_state(1.0))
    # Its place is free again, and it is still there to be looked at.
    saver.save(2, make_state(3.0))
  assert 'damaged checkpoints in' in capsys.readouterr().err
  assert (tmp_path / '2.damaged').is_dir()
  with checkpoints.Checkpointer(tmp_path) as saver:
    state, step = saver.restore_or(make_state(0.0))
  assert step == 2
  assert_equal(state, make_state(3.0))
  assert not capsys.readouterr().err


@damages
def test_no_flipped_bit_gives_other_values(tmp_path, capsys):
  """Wherever it is: the values are right, or the one before is used."""
  save_two(tmp_path / 'kept')
  names = [
    path.relative_to(tmp_path / 'kept')
    for path in sorted((tmp_path / 'kept' / '2').rglob('*'))
    if path.is_file()
  ]
  rng = np.random.default_rng(0)
  template = {'params': make_state(0.0).params}
  passed = 0
  for case in range(3 * len(names)):
    name = names[case % len(names)]
    folder = tmp_path / str(case)
    shutil.copytree(tmp_path / 'kept', folder)
    content = bytearray((folder / name).read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    (folder / name).write_bytes(content)
    variables, step = checkpoints.restore_variables(folder, template)
    assert_equal(variables['params'], make_state(float(step)).params)
    assert (step == 1) == ('Warning' in capsys.readouterr().err)
    passed += step == 1
  assert passed >= len(names) // 2


def cut(path):
  os.truncate(path, path.stat().st_size // 2)


def empty(path):
  os.truncate(path, 0)


def lengthen(path):
  with open(path, 'ab') as file:
    file.write(b'\0' * 7)


@damages
@pytest.mark.parametrize('damage', [cut, empty, lengthen, os.remove])
def test_no_damaged_file_gives_other_values(tmp_path, capsys, damage):
  """Of every file of a checkpoint."""
  save_two(tmp_path / 'kept')
  found = sorted((tmp_path / 'kept' / '2').rglob('*'))
  names = [
    path.relative_to(tmp_path / 'kept') for path in found if path.is_file()
  ]
  template = {'params': make_state(0.0).params}
  passed = 0
  for number, name in enumerate(names):
    folder = tmp_path / str(number)
    shutil.copytree(tmp_path / 'kept', folder)
    damage(folder / name)
    variables, step = checkpoints.restore_variables(folder, template)
    assert_equal(variables['params'], make_state(float(step)).params)
    assert (step == 1) == ('Warning' in capsys.readouterr().err)
    passed += step == 1
  assert passed or damage is lengthen


def test_without_a_good_one_it_is_an_error(tmp_path):
  save_two(tmp_path)
  for step in (1, 2):
    shutil.rmtree(tmp_path / str(step) / 'state')
  with pytest.raises(ValueError, match='All checkpoints .* are damaged .*step'):
    checkpoints.restore_variables(tmp_path, {'params': make_state(0.0).params})
  with checkpoints.Checkpointer(tmp_path) as saver:
    with pytest.raises(ValueError, match='Put a copy in their place'):
      saver.restore_or(make_state(0.0))


def test_a_state_of_other_arrays_is_refused_by_name(tmp_path):
  save_two(tmp_path)
  template = {'params': {'a': jnp.zeros((4, 3)), 'z': jnp.zeros(1)}}
  with pytest.raises(ValueError) as error:
    checkpoints.restore_variables(tmp_path, template)
  assert "params/a is ['float32', [4, 3]], there" in str(error.value)
  assert 'params/z is not there' in str(error.value)
  with checkpoints.Checkpointer(tmp_path) as saver:
    with pytest.raises(ValueError, match='opt_state/.* is only there'):
      saver.restore_or(make_state(0.0).replace(opt_state=()))


def write_run(workdir, **changes):
  """The files that say what made a checkpoint."""
  config = {'seed': 0, 'train': {'learning_rate': 0.1}, 'log_every': 1}
  data = {
    'versions': ['x/y/1'],
    'num_clips': {'train': 2},
    'fingerprints': {'train': 'abc', 'test': 'def'},
    'train_subjects': [],
  }
  genotype = {
    'space': 'cdcnpp',
    'theta': 0.7,
    'cells': {'low': [{'edges': [{'operation': 'cdc_3x3'}]}]},
    'provenance': {'seed': 0},
  }
  for name, content in (
    ('config', config),
    ('data', data),
    ('genotype', genotype),
  ):
    content.update(changes.get(name, {}))
    files.write_json(workdir / f'{name}.json', content)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'config': {'seed': 1}}, 'this config.json .seed: 0 there, 1 here'),
    (
      {'config': {'train': {'learning_rate': 0.2}}},
      'train.learning_rate: 0.1 there, 0.2 here',
    ),
    (
      {'data': {'fingerprints': {'train': 'xyz'}}},
      'this data.json .train: "abc" there, "xyz" here',
    ),
    (
      {'genotype': {'cells': {'low': [{'edges': [{'operation': 'cdc_5x5'}]}]}}},
      r'this genotype.json .cells.low\[0\].edges\[0\].operation: "cdc_3x3"',
    ),
    (
      {'genotype': {'cells': {'low': []}}},
      r'genotype.json .cells.low: \[.* \[]',
    ),
    # These fix nothing of the state.
    ({'config': {'log_every': 2}, 'genotype': {'provenance': {}}}, None),
    ({'data': {'fingerprints': {'train': 'abc', 'test': 'x'}}}, None),
  ],
)
def test_what_did_not_make_a_checkpoint_is_refused(tmp_path, changes, message):
  write_run(tmp_path)
  folder = checkpoints.folder(tmp_path, 'train')
  save_two(folder)
  write_run(tmp_path, **changes)
  template = {'params': make_state(0.0).params}

  def resume():
    with checkpoints.Checkpointer(folder) as saver:
      return saver.restore_or(make_state(0.0))

  for restore in (
    lambda: checkpoints.restore_variables(folder, template),
    resume,
  ):
    if message is None:
      assert restore()[1] == 2
    else:
      with pytest.raises(ValueError, match=message):
        restore()


def test_a_run_without_its_genotype_is_refused(tmp_path):
  write_run(tmp_path)
  folder = checkpoints.folder(tmp_path, 'train')
  save_two(folder)
  (tmp_path / 'genotype.json').unlink()
  with pytest.raises(ValueError, match='made with a genotype.json, which is m'):
    checkpoints.restore_variables(folder, {'params': make_state(0.0).params})


def test_the_searched_genotype_did_not_make_the_search(tmp_path):
  write_run(tmp_path)
  folder = checkpoints.folder(tmp_path, 'search')
  save_two(folder)
  (tmp_path / 'genotype.json').unlink()
  template = {'params': make_state(0.0).params}
  assert checkpoints.restore_variables(folder, template)[1] == 2


def test_a_full_disk_is_one_line_that_says_how_to_go_on(tmp_path, monkeypatch):
  def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, 'No space left on device')

  with checkpoints.Checkpointer(tmp_path) as saver:
    saver.save(1, make_state(1.0))
    monkeypatch.setattr(saver._manager, 'save', full)
    with pytest.raises(
      OSError, match='no space left on the disk.*same command'
    ):
      saver.save(2, make_state(2.0))
  saver = checkpoints.Checkpointer(tmp_path)
  close = saver._manager.close
  monkeypatch.setattr(saver._manager, 'close', full)
  with pytest.raises(OSError, match='could not be written: no space left'):
    with saver:
      pass
  close()


def test_checksums_are_those_of_another_implementation():
  state = {
    'a': jnp.arange(6, dtype=jnp.float32).reshape(2, 3),
    'b': {'c': jnp.bfloat16(1.5), 'd': jnp.zeros((0, 2), jnp.int32)},
  }
  found = checkpoints.describe(state)
  raw = struct.pack('<6f', *range(6))
  assert found['a'] == ['float32', [2, 3], binascii.crc32(raw)]
  # The upper half of 1.5 in float32, 0x3fc00000.
  assert found['b/c'] == ['bfloat16', [], binascii.crc32(b'\xc0\x3f')]
  assert found['b/d'] == ['int32', [0, 2], 0]


@pytest.mark.parametrize('number', [1, 2, 3, 4])
def test_the_checksum_of_an_array_that_hosts_share_is_that_of_the_whole(
  number, monkeypatch
):
  """`number` hosts have a part of the columns each, and a copy of the last."""
  whole = np.random.default_rng(number).random((3, 8), dtype=np.float32)

  class Shard:
    def __init__(self, where, replica_id):
      self.index, self.replica_id = where, replica_id
      self.data = whole[where]

  class Part:
    """What one host has of the array."""

    shape, dtype = whole.shape, whole.dtype

    def __init__(self, host):
      own = np.array_split(np.arange(8), number)[host]
      self.addressable_shards = [
        Shard((slice(None), slice(own[0], own[-1] + 1)), 0),
        Shard((slice(None), slice(7, 8)), 1),
      ]

  said = []
  monkeypatch.setattr(hosts, 'gather', lambda text: said.append(text) or said)
  for host in range(number):
    found = checkpoints._split_crcs({'a': Part(host)})
  # The last of them has heard all.
  assert found == {'a': zlib.crc32(whole.tobytes())}


def test_all_hosts_pass_over_what_one_of_them_finds_damaged(
  tmp_path, monkeypatch, capsys
):
  with checkpoints.Checkpointer(tmp_path) as saver:
    for step in (1, 2):
      saver.save(step, make_state(float(step)))
  theirs = iter(['', 'the checksum of a is wrong'])
  monkeypatch.setattr(hosts, 'gather', lambda mine: [mine, next(theirs, '')])
  with checkpoints.Checkpointer(tmp_path) as saver:
    state, step = saver.restore_or(make_state(0.0))
  assert step == 1
  assert_equal(state, make_state(1.0))
  assert 'step 2: the checksum of a is wrong' in capsys.readouterr().err


def test_keep_must_be_positive(tmp_path):
  with pytest.raises(ValueError, match='keep is 0'):
    checkpoints.Checkpointer(tmp_path, keep=0)


@pytest.mark.parametrize(
  ('step', 'every', 'due'),
  [(5, 5, True), (6, 5, False), (20, 7, True), (5, 0, False), (20, 0, True)],
)
def test_save_due(step, every, due):
  assert checkpoints.save_due(step, every, 20) is due
