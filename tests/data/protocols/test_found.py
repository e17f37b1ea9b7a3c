"""The protocols that the folders bring, on complete lists of names."""

import hashlib
import importlib
import json
import pathlib
import sys

import pytest

from nasfas_configs import protocols as protocols_config
from nasfas_datasets.siw_m import protocols as siw_m
from nasfas_datasets.synthetic_fas import plan, rooms
from nasfas_jax import list_protocols, records
from nasfas_jax.data import protocols
from nasfas_jax.data.protocols import definition, found

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / 'datasets'))
trees = importlib.import_module('trees')
contract = importlib.import_module('contract')


@pytest.fixture(scope='module')
def rows(tmp_path_factory):
  """The index rows that every dataset of videos has when it is complete."""
  folder = tmp_path_factory.mktemp('trees')
  return {
    name: contract.index_rows(
      name, contract.list_all(name, folder / name).clips
    )
    for name in trees.NAMES
  }


@pytest.fixture(scope='module')
def all_rows(rows):
  """The same, with the two that are not made of named videos."""
  rendered = [
    {
      'clip_id': clip.clip_id,
      'dataset': 'synthetic_fas',
      'subject': clip.subject_id,
      'split': clip.split,
      'label': int(clip.attack_type == 'live'),
      'attack_type': clip.attack_type,
      'session': rooms.DOMAINS[clip.domain].name,
    }
    for clip in plan.make_plan(plan.SIZES['tiny'])
  ]
  listed = [
    {
      'clip_id': f'{split}/{label}',
      'dataset': 'manifest_fas',
      'subject': f'{split}{label}',
      'split': split,
      'label': label,
      'attack_type': 'live' if label else 'print',
      'session': '',
    }
    for split in records.SPLITS
    for label in (0, 1)
  ]
  return {**rows, 'synthetic_fas': rendered, 'manifest_fas': listed}


def described(protocol, rows):
  """All that a protocol is, and a hash of the clips of each of its sets."""
  clips = [row for dataset in protocol.datasets for row in rows[dataset]]
  parts = {}
  for part in ('train', 'dev', 'test'):
    ids = sorted(
      f'{row["dataset"]}/{row["clip_id"]}'
      for row in clips
      if getattr(protocol, part)(row)
    )
    digest = hashlib.sha256('\n'.join(ids).encode()).hexdigest()[:16]
    parts[part] = [len(ids), digest]
  return {
    'datasets': list(protocol.datasets),
    'domain_field': protocol.domain_field,
    'headline': list(protocol.headline),
    'threshold_source': protocol.threshold_source,
    'disjoint_subjects': protocol.disjoint_subjects,
    **parts,
  }


def test_no_protocol_changes(all_rows):
  """Frozen when the protocols still stood in tables of the library."""
  frozen = json.loads((HERE / 'frozen.json').read_text(encoding='utf-8'))
  known = protocols.all_protocols()
  # A dataset that is added later has protocols of its own.
  families = {name.partition('/')[0] for name in frozen}
  # And so has version 2.0.0 of synthetic_fas.
  names = [
    name
    for name in known
    if name.partition('/')[0] in families and known[name].version != '2.0.0'
  ]
  assert names == list(frozen)
  for name, expected in frozen.items():
    assert described(known[name], all_rows) == expected, name


# Protocol -> why one of its domains may have a single class.
ONE_CLASS = {
  'siw/3/1': 'the tree of names has prints of session 1 only',
}


def test_no_domain_of_a_training_is_a_class(rows):
  """A domain of one class among several teaches the label as the domain."""
  refused, walked = [], 0
  for name, protocol in protocols.all_protocols().items():
    if not set(protocol.datasets) <= rows.keys():
      # Rendered clips and manifests have no tree of names.
      continue
    walked += 1
    classes = {}
    for dataset in protocol.datasets:
      for row in filter(protocol.train, rows[dataset]):
        domain = row[protocol.domain_field]
        classes.setdefault(domain, set()).add(row['label'])
    assert classes, name
    if len(classes) > 1 and any(len(found) < 2 for found in classes.values()):
      refused.append(name)
  assert walked > 100
  assert refused == list(ONE_CLASS)


def test_counts_of_the_literature(rows):
  """Those that each folder states."""
  seen = 0
  for name in trees.NAMES:
    for protocol, expected in trees.example(name).PROTOCOL_COUNTS.items():
      assert contract.counts(protocol, rows) == expected, protocol
      seen += 1
  assert seen > 40


@pytest.mark.parametrize(
  ('name', 'expected'),
  [
    ('cross/casia-replay', ((60, 180), (90, 270), (200, 1000))),
    ('cross/replay-casia', ((60, 300), (60, 300), (150, 450))),
    ('cross/oci-m', ((480, 1920), (420, 1650), (70, 210))),
    ('cross/mi-c', ((90, 390), (100, 420), (150, 450))),
    # The sets of the literature: M 70/210, C 150/450, I 140/700, O 720/2880;
    # the threshold is from the dev splits, I 60/300 and O 270/1080.
    ('mcio/oci-m', ((1010, 4030), (330, 1380), (70, 210))),
    ('mcio/omi-c', ((930, 3790), (330, 1380), (150, 450))),
    ('mcio/ocm-i', ((940, 3540), (270, 1080), (140, 700))),
    ('mcio/icm-o', ((360, 1360), (60, 300), (720, 2880))),
    ('mcio/mi-c', ((210, 910), (60, 300), (150, 450))),
    ('mcio/mi-o', ((210, 910), (60, 300), (720, 2880))),
    ('cross/oulu+siw-3dmad', ((1000, 3040), (350, 1280), (170, 85))),
    ('cross/oulu+siw-hkbu', ((1000, 3040), (350, 1280), (504, 504))),
    (
      'cross/oulu+siw-casia_surf_3dmask',
      ((1000, 3040), (350, 1280), (288, 864)),
    ),
  ],
)
def test_counts_of_cross_dataset_protocols(name, expected, rows):
  assert contract.counts(name, rows) == expected


def test_every_protocol_selects_from_complete_data(all_rows):
  for name, protocol in protocols.all_protocols().items():
    if protocol.version == '2.0.0':
      continue  # See tests/datasets/test_rooms.py.
    train, dev, test = contract.counts(name, all_rows)
    assert min(*train, *dev, *test) > 0, name


def test_siw_m_holds_out_every_type_and_its_attacks(rows):
  held = set()
  for kind in siw_m.TYPES:
    protocol = protocols.get_protocol(f'siw_m/{kind}')
    chosen = protocols.select(protocol, rows['siw_m'])
    details = {row['attack_detail'] for row in chosen.test}
    assert details == {'live', kind}
    assert kind not in {row['attack_detail'] for row in chosen.train}
    assert chosen.dev_source == 'train'
    held.add(kind)
  assert held == {
    row['attack_detail'] for row in rows['siw_m'] if not row['label']
  }


def test_siw_m_known_attacks_are_split_without_overlap(rows):
  protocol = protocols.get_protocol('siw_m/known')
  chosen = protocols.select(protocol, rows['siw_m'])
  train = {row['clip_id'] for row in chosen.train}
  test = {row['clip_id'] for row in chosen.test}
  assert not train & test
  assert len(train) + len(test) == 1626
  details = {row['attack_detail'] for row in chosen.test}
  assert details == {'live', *siw_m.TYPES}


def test_the_table_counts_what_is_prepared(tiny_data_dir):
  text = list_protocols.table(str(tiny_data_dir), 'tiny')
  lines = {line.split()[0]: line for line in text.splitlines()[2:]}
  assert set(lines) == set(protocols.all_protocols())
  assert lines['oulu_npu/1'].endswith('not prepared: oulu_npu')
  assert lines['cross/mi-c'].endswith('msu_mfsd, replay_attack, casia_mfsd')
  unseen = lines['synthetic_fas/unseen_rooms'].split()
  assert unseen[1:5] == ['8/16', 'dev', '8/16', '4/8']


def test_the_command_prints_the_table_to_stdout(
  tiny_data_dir, capsys, tmp_path
):
  config = protocols_config.get_config()
  config.data.data_dir, config.data.builder_config = str(tiny_data_dir), 'tiny'
  list_protocols.list_protocols(config, tmp_path)
  text = list_protocols.table(str(tiny_data_dir), 'tiny')
  assert capsys.readouterr().out == f'{text}\n'


def test_an_unknown_name_suggests_those_of_its_dataset():
  with pytest.raises(ValueError, match='allowed: oulu_npu/1, oulu_npu/2'):
    protocols.get_protocol('oulu_npu/5')
  first = 'allowed: synthetic_fas/unseen_rooms, manifest_fas/'
  with pytest.raises(ValueError, match=first):
    protocols.get_protocol('nope')


def bad_folder(names, datasets=('oulu_npu',)):
  """A module of protocols as a folder could bring it."""
  made = [
    definition.Protocol(
      name, datasets, *[lambda row: True] * 3, 'session', ('acer',)
    )
    for name in names
  ]
  return type('Module', (), {'protocols': staticmethod(lambda: made)})


@pytest.mark.parametrize(
  ('module', 'message'),
  [
    (bad_folder(['siw/1']), "'siw/1'; allowed: 'oulu_npu' and 'oulu_npu/...'"),
    (bad_folder(['oulu_npu_2/1']), 'oulu_npu_2/1.; allowed'),
    (bad_folder(['oulu_npu/1'] * 2), "'oulu_npu/1' is there twice"),
    (bad_folder(['oulu_npu/1'], ()), 'draws on nothing; allowed: oulu_npu'),
    (bad_folder(['oulu_npu/1'], ('oulu_npu', 'siw')), 'draws on oulu_npu, siw'),
  ],
)
def test_a_folder_brings_protocols_of_its_own_dataset_only(
  module, message, monkeypatch
):
  monkeypatch.setattr(found, '_module', lambda dataset, name: module)
  uncached = found._all_protocols.__wrapped__
  with pytest.raises(ValueError, match=message) as caught:
    uncached(('oulu_npu',))
  assert 'oulu_npu/protocols.py' in str(caught.value)


def test_a_broken_import_of_a_folder_is_not_a_missing_file(monkeypatch):
  def broken(name):
    raise ModuleNotFoundError('no lxml', name='lxml')

  monkeypatch.setattr(found.importlib, 'import_module', broken)
  with pytest.raises(ModuleNotFoundError, match='no lxml'):
    found.published('siw')


def test_published_figures_are_of_protocols_and_in_percent():
  with_figures = []
  known = protocols.all_protocols()
  datasets = {name for p in known.values() for name in p.datasets}
  for dataset in {*datasets, *(name.partition('/')[0] for name in known)}:
    for group, methods in protocols.published(dataset).items():
      assert group in known or any(n.startswith(f'{group}/') for n in known)
      for figures in methods.values():
        assert figures
        for mean, deviation in figures.values():
          assert 0 <= mean <= 100 and 0 <= deviation <= 100
      with_figures.append(group)
  assert {f'oulu_npu/{k}' for k in range(1, 5)} <= set(with_figures)
  assert {'mcio/oci-m', 'mcio/mi-o', 'cross/icm-o'} <= set(with_figures)
  assert protocols.published('manifest_fas') == {}
  assert protocols.published('no_such_dataset') == {}


def test_published_acer_is_the_mean_of_the_rates():
  """Of the method's own rows, within the rounding to one digit."""
  for methods in protocols.published('oulu_npu').values():
    figures = methods['NAS-FAS']
    apcer, bpcer, acer = (figures[m][0] for m in ('apcer', 'bpcer', 'acer'))
    assert acer == pytest.approx((apcer + bpcer) / 2, abs=0.1)


def test_published_cross_dataset_figures_stand_where_their_papers_have_them():
  """Both ways of taking the threshold; few sources have fewer figures."""
  test = protocols.published('mcio')
  assert test['mcio/icm-o']['NAS-FAS'] == {
    'hter at the test EER': (13.16, 0),
    'auc': (94.18, 0),
  }
  assert list(test['mcio/mi-c']) == ['SSDG-R']
  dev = protocols.published('cross')
  for title in ('oci-m', 'omi-c', 'ocm-i', 'icm-o', 'mi-c', 'mi-o'):
    optimistic = test[f'mcio/{title}']['SSDG-R']['hter at the test EER'][0]
    assert optimistic < dev[f'cross/{title}']['SSDG-R']['hter'][0]


def test_an_index_that_cannot_be_read_does_not_hide_the_other_datasets(
  tmp_path,
):
  # Whoever runs the tests may read every file.
  (tmp_path / 'siw/default/1.0.0' / records.INDEX_FILE).mkdir(parents=True)
  lines = list_protocols.table(str(tmp_path), '').splitlines()
  said = {line.split()[0]: ' '.join(line.split()[1:]) for line in lines}
  assert said['siw/1'] == 'damaged: siw'
  assert said['rose_youtu/all'] == 'not prepared: rose_youtu'
  assert 'siw/default/1.0.0/index.jsonl' in lines[-1]


def test_a_damaged_index_does_not_hide_the_other_datasets(tmp_path):
  for name in ('oulu_npu', 'siw'):
    folder = tmp_path / name / 'default' / '1.0.0'
    folder.mkdir(parents=True)
    (folder / records.INDEX_FILE).write_text('' if name == 'siw' else '{}\n')
  lines = list_protocols.table(str(tmp_path), '').splitlines()
  said = {line.split()[0]: ' '.join(line.split()[1:]) for line in lines}
  assert said['oulu_npu/1'] == 'damaged: oulu_npu'
  assert 'the train set has 0 clips' in said['siw/1']
  assert said['rose_youtu/all'] == 'not prepared: rose_youtu'
  assert "oulu_npu/default/1.0.0/index.jsonl' is damaged in line 1" in lines[-1]
