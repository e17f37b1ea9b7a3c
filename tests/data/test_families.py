"""The protocols of the licensed datasets on their complete lists of names."""

import importlib
import pathlib
import sys

import pytest

from nasfas_jax import list_protocols, records
from nasfas_jax.data import dataset_families, families, protocols

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / 'datasets'))
trees = importlib.import_module('trees')


@pytest.fixture(scope='module')
def rows(tmp_path_factory):
  """The index rows that every dataset would have when it is complete."""
  from nasfas_datasets import fas_builder

  folder = tmp_path_factory.mktemp('trees')
  made = {}
  for name, names in trees.TREES.items():
    root = trees.write(folder / name, names())
    made[name] = [
      {
        **{
          field: getattr(clip, field)
          for field in records.INDEX_FIELDS
          if field != 'dataset'
        },
        'dataset': name,
      }
      for clip in fas_builder.builder_class(name).list_clips(root).clips
    ]
  return made


def counts(name, rows):
  protocol = protocols.get_protocol(name)
  clips = [row for dataset in protocol.datasets for row in rows[dataset]]
  chosen = protocols.select(protocol, clips)

  def count(part):
    live = sum(row['label'] for row in part)
    return live, len(part) - live

  return count(chosen.train), count(chosen.dev), count(chosen.test)


@pytest.mark.parametrize(
  ('name', 'expected'),
  [
    ('oulu_npu/1', ((240, 960), (180, 720), (120, 480))),
    ('oulu_npu/2', ((360, 720), (270, 540), (360, 720))),
    *(
      (f'oulu_npu/3/{k}', ((300, 1200), (225, 900), (60, 240)))
      for k in range(1, 7)
    ),
    *(
      (f'oulu_npu/4/{k}', ((200, 400), (150, 300), (20, 40)))
      for k in range(1, 7)
    ),
    # Nominal counts: 8 live, 4 print, 16 replay a subject, all media there.
    ('siw/1', ((640, 1600), (80, 200), (600, 1500))),
    *((f'siw/2/{k}', ((640, 960), (80, 120), (600, 300))) for k in range(1, 5)),
    ('siw/3/1', ((640, 320), (80, 40), (600, 1200))),
    ('siw/3/2', ((640, 1280), (80, 160), (600, 300))),
    ('siw_m/paper', ((528, 850), (528, 850), (131, 117))),
    ('siw_m/partial_paper', ((528, 881), (528, 881), (131, 86))),
    ('casia_mfsd/overall', ((60, 180), (60, 180), (90, 270))),
    ('casia_mfsd/high', ((20, 60), (20, 60), (30, 90))),
    ('casia_mfsd/odd', ((20, 60), (20, 60), (30, 90))),
    ('casia_mfsd/cut', ((60, 60), (60, 60), (90, 90))),
    ('casia_mfsd/leave_out/cut', ((60, 120), (60, 120), (90, 90))),
    ('replay_attack/grandtest', ((60, 300), (60, 300), (80, 400))),
    ('replay_attack/print', ((60, 60), (60, 60), (80, 80))),
    ('replay_attack/mobile', ((60, 120), (60, 120), (80, 160))),
    ('replay_attack/highdef', ((60, 120), (60, 120), (80, 160))),
    ('replay_attack/photo', ((60, 180), (60, 180), (80, 240))),
    ('replay_attack/video', ((60, 120), (60, 120), (80, 160))),
    ('replay_attack/digitalphoto', ((60, 120), (60, 120), (80, 160))),
    ('replay_attack/leave_out/print', ((60, 240), (60, 240), (80, 80))),
    ('msu_mfsd', ((30, 90), (30, 90), (40, 120))),
    ('msu_mfsd/leave_out/printed_photo', ((30, 60), (30, 60), (40, 40))),
    ('three_d_mad/classification', ((70, 35), (50, 25), (50, 25))),
    *(
      (
        f'three_d_mad/leave_one_subject_out/{k:02d}',
        ((80, 40), (80, 40), (10, 5)),
      )
      for k in (1, 9, 17)
    ),
    ('cross/casia-replay', ((60, 180), (90, 270), (200, 1000))),
    ('cross/replay-casia', ((60, 300), (60, 300), (150, 450))),
    ('cross/oci-m', ((480, 1920), (420, 1650), (70, 210))),
    ('cross/mi-c', ((90, 390), (100, 420), (150, 450))),
    ('cross/oulu+siw-3dmad', ((1000, 3040), (350, 1280), (170, 85))),
    ('cross/oulu+siw-hkbu', ((1000, 3040), (350, 1280), (504, 504))),
    (
      'cross/oulu+siw-casia_surf_3dmask',
      ((1000, 3040), (350, 1280), (288, 864)),
    ),
  ],
)
def test_counts(name, expected, rows):
  assert counts(name, rows) == expected


def test_every_protocol_selects_from_complete_data(rows):
  for name, protocol in families.PROTOCOLS.items():
    if set(protocol.datasets) <= set(rows):
      train, dev, test = counts(name, rows)
      assert min(*train, *dev, *test) > 0, name


def test_siw_m_holds_out_every_type_and_its_attacks(rows):
  held = set()
  for kind in dataset_families.SIW_M_TYPES:
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
  assert details == {'live', *dataset_families.SIW_M_TYPES}


def test_the_table_counts_what_is_prepared(tiny_data_dir):
  text = list_protocols.table(str(tiny_data_dir), 'tiny')
  lines = {line.split()[0]: line for line in text.splitlines()[2:]}
  assert set(lines) == set(families.PROTOCOLS)
  assert lines['oulu_npu/1'].endswith('not prepared: oulu_npu')
  assert lines['cross/mi-c'].endswith('msu_mfsd, replay_attack, casia_mfsd')
  intra = lines['synthetic_fas/intra'].split()
  assert intra[1:5] == ['8/24', 'dev', '8/24', '8/24']


def test_an_unknown_name_suggests_those_of_its_dataset():
  with pytest.raises(ValueError, match='allowed: oulu_npu/1, oulu_npu/2'):
    protocols.get_protocol('oulu_npu/5')
  with pytest.raises(ValueError, match='synthetic_fas/intra, manifest_fas/'):
    protocols.get_protocol('nope')
