"""What only UniAttackData has: lists that write labels in several ways."""

import pathlib

import numpy as np
import pytest
import trees
from fuzz_cases import CASES

from nasfas_datasets.uniattackdata import layout

LIVE = 'Data/live/africa/AF-001/real.rssdk/color/0012.jpg'
CLOTH = 'Data/spoof/africa/AF-001/cloth-outdoor/color/0012.jpg'
ADVERSARIAL = 'Data/adv-attacks/alma/alma_africa-112x112/AF-001/0012.jpg'
DIGITAL = 'Data/simswap/africa/AF-001-To-CA-002/6.jpg'
FOUR = (LIVE, CLOTH, ADVERSARIAL, DIGITAL)


@pytest.fixture
def root(tmp_path):
  tree = trees.write(tmp_path, trees.example('uniattackdata').names())
  trees.write_lists('uniattackdata', tree)
  return tree


def list_of(root, protocol, split):
  return root / 'protocol' / f'UniAttackData@p{protocol}_image_{split}.txt'


@pytest.mark.parametrize('labels', ['0123', '0111', '1000'])
def test_the_label_is_that_of_the_path_whatever_the_list_calls_it(
  labels, tmp_path
):
  path = tmp_path / 'list.txt'
  lines = [
    f'UniAttackData/{name} {label}'
    for name, label in zip(FOUR, labels, strict=True)
  ]
  path.write_text('\n'.join(lines))
  assert layout.read_list(path) == list(zip(FOUR, layout.GROUPS, strict=True))
  found = [layout.describe(name)[1] for name in FOUR]
  assert [fields['label'] for fields in found] == [1, 0, 0, 0]
  assert [fields['attack_type'] for fields in found] == [
    *('live', 'print', 'adversarial', 'digital')
  ]


@pytest.mark.parametrize(
  ('labels', 'number', 'said'),
  [
    # Each first line fits some rule; the marked one breaks all that are left.
    ('00', 2, "path is physical; the lines before have labels by '0 is live'"),
    ('11', 2, "path is physical; the lines before have labels by '1 is live'"),
    ('0113', 4, "path is digital; .* '0 is live' .live 0, physical 1, advers"),
    ('0121', 4, "path is digital; the lines before have labels by 'detailed'"),
    ('2', 1, "label 2, but its path is live; .* by '0 is live'"),
  ],
)
def test_a_list_keeps_to_one_rule(labels, number, said, tmp_path):
  path = tmp_path / 'list.txt'
  names = FOUR[: len(labels)]
  path.write_text(
    '\n'.join(f'{n} {k}' for n, k in zip(names, labels, strict=True))
  )
  with pytest.raises(ValueError, match=said) as caught:
    layout.read_list(path)
  assert f'{path}, line {number}' in str(caught.value)


@pytest.mark.parametrize(
  ('line', 'message'),
  [
    ('Data/live/africa/AF-1/real.rssdk/color/1.jpg 0', 'the name does not fit'),
    ('Data/spoof/africa/AF-001/mask/color/1.jpg 1', "'mask' begins with none"),
    ('Data/other/africa/AF-001-To-CA-002/6.jpg 3', 'the name does not fit'),
    (f'{LIVE} 4', 'is not PATH LABEL'),
    (LIVE, 'is not PATH LABEL'),
  ],
)
def test_a_line_of_another_form_is_an_error(line, message, tmp_path):
  path = tmp_path / 'list.txt'
  path.write_text(f'{CLOTH} 1\n\n{line}\n')
  with pytest.raises(ValueError, match=message) as caught:
    layout.read_list(path)
  assert f'{path}, line 3' in str(caught.value)


def test_missing_and_unlisted_pictures_are_said(root):
  (gone,) = root.glob('Data/DaGAN/*/EA-321-To-AF-491/27.jpg')
  gone.unlink()
  trees.write(root, [LIVE, CLOTH])
  found = layout.list_clips(root)
  assert found.missing == ['Data/DaGAN/east-asia_faces/EA-321-To-AF-491/27']
  assert len(found.clips) == 34 and not found.skipped
  assert '2 pictures are in no list and left out' in found.notes


def test_a_list_of_protocol_1_is_needed_and_another_is_not(root):
  list_of(root, '2.1', 'dev').unlink()
  found = layout.list_clips(root)
  assert len(found.clips) == 35
  missing = 'protocol/UniAttackData@p2.1_image_dev.txt is missing'
  assert missing in found.notes
  list_of(root, '1', 'dev').unlink()
  with pytest.raises(FileNotFoundError, match='p1_image_dev.txt is missing'):
    layout.list_clips(root)


def test_counts_and_shared_subjects_are_compared_with_what_is_promised(root):
  notes = layout.list_clips(root).notes
  assert (
    'UniAttackData@p1_image_train.txt names 4 live, 4 physical, 2 adversarial, '
    '4 digital pictures; published: 3000 live, 1800 physical, 1800 adversarial'
    ', 1800 digital'
  ) in notes
  assert not any('it trains on' in note for note in notes)
  path = list_of(root, '2.1', 'test')
  more = 'Data/spoof/east-asia/EA-321/screen-rs/color/0012.jpg'
  path.write_text(path.read_text() + f'{more} 1\n')
  found = layout.list_clips(root)
  assert (
    'protocol 2.1 tests pictures of 1 subjects that it trains on' in found.notes
  )
  # It trains in protocol 1, whose split it keeps.
  (clip,) = [c for c in found.clips if c.clip_id == more.removesuffix('.jpg')]
  assert clip.split == 'train' and '2.1/test' in clip.lists.split()


def test_a_picture_in_two_splits_of_a_protocol_is_only_judged(root):
  path = list_of(root, '1', 'test')
  more = list_of(root, '1', 'train').read_text().splitlines()[0]
  path.write_text(path.read_text() + f'{more}\n{more}\n')
  found = layout.list_clips(root)
  name = more.split()[0].removeprefix('UniAttackData/').removesuffix('.jpg')
  (clip,) = [c for c in found.clips if c.clip_id == name]
  assert clip.split == 'test' and '1/train' not in clip.lists.split()
  assert any(
    note.startswith('1 pictures of UniAttackData@p1_image_test.txt are in an')
    for note in found.notes
  )


def test_any_list_is_read_or_refused_with_its_name(texts):
  rng = np.random.default_rng(0)
  path = pathlib.Path('list.txt')
  words = [*FOUR, 'UniAttackData/', ' 0', ' 0', ' 1', ' 1', ' 2', ' 3', '\n']
  words += ['\n', '\x00', 'é', 'Data/']
  read = 0
  for _ in range(CASES):
    texts['list.txt'] = ''.join(rng.choice(words, rng.integers(0, 7)))
    try:
      pictures = layout.read_list(path)
    except ValueError as error:
      assert 'list.txt' in str(error)
      continue
    read += 1
    assert set(pictures) <= set(zip(FOUR, layout.GROUPS, strict=True))
  assert CASES * 0.05 < read < CASES
