"""What besides faces tells the label: the audit, and what is said of it."""

import json

import numpy as np
import pytest

from nasfas_configs import audit as audit_config
from nasfas_jax import audit, records
from nasfas_jax.data import index, nuisance
from nasfas_jax.metrics import rates

# What the stored crops below serve.
CROPS = nuisance.Crops(scale=1.2, reach=1.5, size=64)


def row(label, **changes):
  known = {
    'box': 'given',
    'framing': 0.4,
    'file_type': '.mp4',
    'width': 640,
    'height': 480,
    'file_frames': 100,
    'file_bytes_per_pixel': 0.1,
    'stored_framing': 0.6,
    'stored_bytes_per_pixel': 1.5,
    'still': False,
  }
  fields = {'num_frames': 8, 'fps': 25.0}
  for name, value in changes.items():
    (fields if name in fields else known)[name] = value
  kind = 'live' if label else 'print'
  return {'label': label, 'attack_type': kind, **fields, 'properties': known}


def plain(count=20):
  return [row(i % 2) for i in range(count)]


def test_auc_is_that_of_the_metrics_in_the_better_direction():
  rng = np.random.default_rng(0)
  for _ in range(50):
    labels = np.array([0, 1, *rng.integers(0, 2, 30)])
    values = rng.integers(0, 6, 32) + labels * rng.integers(-2, 3)
    area = rates.auc(values.astype(float), labels)
    expected = max(area, 1 - area)
    assert nuisance.auc(values, labels) == pytest.approx(expected)


def test_the_deviation_is_that_of_chance():
  rng = np.random.default_rng(1)
  labels = np.arange(40) % 4 == 0
  areas = [
    rates.auc(rng.normal(size=40), labels.astype(int)) for _ in range(600)
  ]
  rows = [row(int(label)) for label in labels]
  deviation = nuisance.audit(rows)[0].deviation
  assert np.std(areas) == pytest.approx(deviation, rel=0.1)


@pytest.mark.parametrize(
  ('name', 'changes'),
  [
    ('framing', {'framing': 0.9}),
    ('number of frames', {'file_frames': 7}),
    ('file type', {'file_type': '.avi'}),
    ('resolution', {'width': 320, 'height': 240}),
    ('shape of the frame', {'width': 480, 'height': 640}),
    ('bytes per pixel', {'file_bytes_per_pixel': 0.02}),
    ('stored bytes per pixel', {'stored_bytes_per_pixel': 0.4}),
    ('fps', {'fps': 30.0}),
    ('whole frame', {'box': 'whole_frame'}),
  ],
)
def test_a_property_that_differs_by_label_is_a_warning(name, changes):
  assert not any('WARNING' in x for x in nuisance.audit_lines(plain()))
  for label in (0, 1):
    rows = [
      row(i % 2, **(changes if i % 2 == label else {})) for i in range(20)
    ]
    lines = nuisance.audit_lines(rows)
    assert f'{name} 1.00' in lines[0]
    assert lines[1].startswith(f'WARNING: {name} alone tells')
    assert len(lines) == 2


def test_few_clips_are_no_evidence():
  rows = [row(0), row(1, fps=30.0), row(0), row(1, fps=30.0)]
  assert 'fps 1.00' in nuisance.audit_lines(rows)[0]
  assert len(nuisance.audit_lines(rows)) == 1


def test_properties_that_some_clips_lack_are_left_out():
  rows = plain()
  del rows[3]['properties']['framing'], rows[3]['properties']['stored_framing']
  names = [item.name for item in nuisance.audit(rows)]
  assert 'framing' not in names and 'fps' in names
  # A rendered dataset has no files.
  for other in rows:
    other['properties'] = {'stored_bytes_per_pixel': 1.0, 'stored_framing': 0.6}
  names = {item.name for item in nuisance.audit(rows)}
  assert names == {
    'framing',
    'fps',
    'number of frames',
    'stored bytes per pixel',
  }


def test_one_class_has_no_audit():
  assert nuisance.audit([row(1)] * 4) == []
  assert 'there is none' in nuisance.audit_lines([row(1)] * 4)[0]


def test_stills_are_counted_by_label():
  rows = plain()
  assert nuisance.still_lines(rows) == []
  rows = [row(1, num_frames=1), row(1, still=True), row(0), row(0)]
  lines = nuisance.still_lines(rows)
  assert (
    lines[0] == 'Stills (one frame, or all frames equal): 2 (live 2, attack 0)'
  )
  assert 'fusion=static' in lines[1]
  assert lines[2].startswith(
    'WARNING: 100% of the live clips and 0% of the att'
  )
  # A network that sees single frames loses nothing.
  assert len(nuisance.still_lines(rows, static=True)) == 1
  everywhere = [row(label, num_frames=1) for label in (0, 1, 0, 1)]
  assert len(nuisance.still_lines(everywhere)) == 2


def test_clips_without_a_label_are_counted_and_tell_nothing():
  rows = plain() + [{**row(0, fps=99.0), 'label': -1, 'attack_type': ''}] * 9
  assert nuisance.audit(rows) == nuisance.audit(plain())
  assert nuisance.count(rows) == '29 (live 10, attack 10, unlabelled 9)'
  assert 'unlabelled 9' in nuisance.box_lines(rows)[0]
  assert nuisance.by_label('Lost', [(-1, True), (1, False)]) == []


def test_what_a_run_says_of_its_clips():
  assert nuisance.run_lines(plain(), 'concat', {}, CROPS) == []
  # An index of another source has no properties.
  assert (
    nuisance.run_lines([{'label': 1}, {'label': 0}], 'concat', {}, CROPS) == []
  )
  rows = [row(1, box='whole_frame'), row(0), row(0, num_frames=1)]
  lines = nuisance.run_lines(rows, 'concat', {}, CROPS)
  assert lines[0].startswith('Without a face box: 1 (live 1, attack 0) of 3')
  assert lines[1].startswith('Stills')
  assert len(nuisance.run_lines(rows, 'static', {}, CROPS)) == 2


@pytest.mark.parametrize(
  ('crops', 'stored', 'said'),
  [
    # 1.2 * 0.625 * 128 / 64 = 1.5: not more than that.
    ((1.2, 1.5, 64), {'stored_side': 128}, ''),
    ((1.25, 1.5, 64), {'stored_side': 128}, 'shrunk up to 1.6 times to 64 pix'),
    # An earlier version did not write it.
    ((1.25, 1.5, 64), {}, ''),
    ((1.2, 1.6, 64), {}, ''),
    (
      (1.2, 1.7, 64),
      {},
      '1.7 times the face reach past the stored pictures of ',
    ),
  ],
)
def test_crops_that_the_stored_pictures_do_not_serve(crops, stored, said):
  rows = [row(i % 2, stored_framing=1 / 1.6, **stored) for i in range(4)]
  # Nothing is known of its crop.
  bare = {'label': 1, 'properties': {}}
  lines = nuisance.crop_lines([*rows, bare], nuisance.Crops(*crops))
  assert len(lines) == bool(said)
  if said:
    assert lines[0].startswith('WARNING: crops of ') and said in lines[0]
    assert '4 of 5 clips' in lines[0]
  if '1.7' in said:
    assert 'which show 1.6 times the face' in lines[0]
    assert '--margin=1.7 or more' in lines[0]


def test_the_same_frames_in_two_sets_are_a_warning():
  def clip(name, digest):
    return {'dataset': 'd', 'clip_id': name, 'digest': digest}

  train = [clip('a', '1'), clip('b', '2'), clip('b2', '2')]
  test = [clip('c', '2'), clip('d', '3'), {'dataset': 'd', 'clip_id': 'old'}]
  (line,) = nuisance.copy_lines({'train': train, 'dev': [], 'test': test})
  assert line == (
    'WARNING: 1 clips are both in train and in test: the same frames, such as '
    "'d/b' and 'd/c'."
  )
  # The training clips set the threshold of some protocols.
  assert nuisance.copy_lines({'train': train, 'dev': train}) == []
  both = nuisance.copy_lines({'train': train, 'dev': train, 'test': test})
  assert both == [line]


@pytest.mark.parametrize(
  ('trained', 'judged', 'said'),
  [
    ({'given': 40}, {'given': 1}, False),
    # A rendered face has its box, though its index does not say so.
    ({'unknown': 40}, {'given': 30}, False),
    ({'given': 40}, {'unknown': 30}, False),
    ({'unknown': 40}, {'whole_frame': 30}, True),
    ({'given': 40}, {'whole_frame': 30}, True),
    ({'given': 40}, {'detected': 30}, True),
    ({'detected': 40}, {'given': 30}, True),
    # A single clip of a source that the network has never seen.
    ({'given': 40}, {'given': 30, 'whole_frame': 1}, True),
    # Shares that are alike, that differ by chance, and that differ.
    ({'given': 20, 'whole_frame': 20}, {'given': 9, 'whole_frame': 11}, False),
    ({'given': 1, 'whole_frame': 3}, {'given': 2, 'whole_frame': 2}, False),
    ({'given': 99, 'whole_frame': 1}, {'whole_frame': 30}, True),
    ({'given': 20, 'whole_frame': 20}, {'given': 40}, True),
    # A run that did not record where its boxes were from.
    ({}, {'whole_frame': 30}, False),
  ],
)
def test_sets_whose_boxes_are_from_elsewhere_are_a_warning(
  trained, judged, said
):
  def rows_of(sources):
    return [
      row(i % 2, **({} if kind == 'unknown' else {'box': kind}))
      for kind, number in sources.items()
      for i in range(number)
    ]

  rows = rows_of(judged)
  if 'unknown' in judged:
    for one in rows:
      del one['properties']['box']
  assert nuisance.box_sources(rows) == judged
  lines = nuisance.other_box_lines(trained, {'dev': [], 'test': rows})
  assert len(lines) == said
  if said:
    assert lines[0].startswith('WARNING: face boxes of the training clips: ')
    assert '; of test: ' in lines[0] and 'of dev' not in lines[0]
    assert '--faces=detected' in lines[0]


def test_a_run_says_which_sets_have_other_boxes():
  whole = [row(i % 2, box='whole_frame') for i in range(6)]
  (line,) = nuisance.run_lines(
    plain(), 'static', {'dev': whole[:4], 'test': whole}, CROPS
  )
  assert (
    'training clips: given 20; of dev: none, the whole frame is taken 4; of '
    'test: none, the whole frame is taken 6. '
  ) in line


def test_a_share_that_depends_on_the_label_is_a_warning():
  def told(live, spoof, of=60):
    return [
      *((1, i < live) for i in range(of)),
      *((0, i < spoof) for i in range(of)),
    ]

  assert nuisance.by_label('Lost', told(0, 0)) == []
  assert nuisance.by_label('Lost', told(3, 4)) == [
    'Lost: 3 of 60 live (5%), 4 of 60 attack (7%)'
  ]
  _, warning = nuisance.by_label('Lost', told(5, 30))
  assert 'depends on the label' in warning
  assert nuisance.by_label('Lost', [(1, True)]) == [
    'Lost: 1 of 1 live (100%), 0 of 0 attack'
  ]


def test_how_boxes_came_about_is_said_by_type():
  rows = [*plain(4), row(1, box='whole_frame')]
  assert nuisance.box_lines(rows) == [
    'Face boxes given: 4 (live 2, print 2)',
    'Face boxes none, the whole frame is taken: 1 (live 1)',
  ]


def test_the_experiment_prints_the_audit_of_what_is_prepared(tmp_path, capsys):
  folder = tmp_path / 'manifest_fas/default/1.0.0'
  folder.mkdir(parents=True)
  rows = [
    {
      **dict.fromkeys(records.INDEX_FIELDS, 'x'),
      **row(i % 2, framing=0.4 + i % 2),
      'tfds_split': 'train',
    }
    for i in range(20)
  ]
  text = ''.join(json.dumps(row) + '\n' for row in rows)
  (folder / records.INDEX_FILE).write_text(text)
  config = audit_config.get_config()
  config.protocol = 'manifest_fas/official'
  config.data.data_dir = str(tmp_path)
  audit.audit(config, tmp_path / 'none')
  said = capsys.readouterr().out
  assert 'manifest_fas: 20 (live 10, attack 10) clips' in said
  assert 'WARNING: framing alone tells' in said
  assert not (tmp_path / 'none').exists()


def test_a_hint_names_only_what_exists_for_a_dataset(tmp_path):
  with pytest.raises(FileNotFoundError) as rendered:
    index.load_index(tmp_path, 'synthetic_fas', 'tiny')
  assert '--config=tiny' in str(rendered.value)
  assert 'manual_dir' not in str(rendered.value)
  assert 'margin' not in str(rendered.value)
  folder = tmp_path / 'oulu_npu/small/1.0.0'
  folder.mkdir(parents=True)
  (folder / records.INDEX_FILE).write_text('')
  with pytest.raises(FileNotFoundError) as shipped:
    index.load_index(tmp_path, 'oulu_npu', '')
  assert '--manual_dir=FOLDER' in str(shipped.value)
  assert 'prepared there: small (' in str(shipped.value)
