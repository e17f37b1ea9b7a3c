"""What only CelebA-Spoof has: label vectors, and boxes of 224 pixels."""

import codecs
import json
import pathlib

import numpy as np
import pytest
import trees
from fuzz_cases import CASES

from nasfas_datasets import clip_record, listing
from nasfas_datasets.celeba_spoof import layout


@pytest.fixture
def root(tmp_path):
  tree = trees.write(tmp_path, trees.example('celeba_spoof').names())
  trees.write_lists('celeba_spoof', tree)
  return tree


def edit(root, change, split='train', folder='intra_test'):
  path = root / 'metas' / folder / f'{split}_label.json'
  labels = json.loads(path.read_text())
  change(labels)
  path.write_text(json.dumps(labels))


def test_path_and_list_must_agree(root):
  """As 2,022 pictures in `live` do not."""
  live = 'Data/train/4980/live/000011.jpg'
  spoof = 'Data/train/4980/spoof/000001.jpg'

  def swap(labels):
    labels[live][43] = 1
    labels[spoof][40:] = [0, 0, 0, 0]

  edit(root, swap)
  # The other lists would contradict the changed one.
  for folder in layout.LISTS.values():
    if folder != 'intra_test':
      (root / 'metas' / folder / 'train_label.json').unlink()
  found = layout.list_clips(root)
  assert dict(found.skipped) == {
    live: 'in the folder live, but the list says label 1 and kind 0',
    spoof: 'in the folder spoof, but the list says label 0 and kind 0',
  }
  assert len(found.clips) == 50 and not found.missing
  assert any(
    '1 pictures left out: in the folder live' in n for n in found.notes
  )
  assert any('protocol1/train_label.json is missing' in n for n in found.notes)


def test_a_subject_that_is_tested_does_not_train(root):
  """As 5028, 7332 and 9735 would; the published test set stays whole."""
  names = [f'Data/train/6301/live/{k:06d}.jpg' for k in (21, 22)]
  trees.write(root, names)
  edit(root, lambda labels: labels.update({name: [0] * 44 for name in names}))
  found = layout.list_clips(root)
  assert dict(found.skipped) == dict.fromkeys(
    names, 'the subject 6301 is tested too'
  )
  assert found.summary()['split'] == {'test': 26, 'train': 26}
  assert any('6301 are in both splits' in note for note in found.notes)


def test_what_the_lists_name_and_the_folder_lacks_is_missing(root):
  (root / 'Data/test/6302/live/000012.jpg').unlink()
  assert layout.list_clips(root).missing == ['Data/test/6302/live/000012']


def test_a_list_may_have_a_byte_order_mark(root):
  path = root / 'metas/intra_test/test_label.json'
  path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
  assert len(layout.list_clips(root).clips) == 52


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lambda x: x.popitem()[1].pop(), None),
    (
      lambda x: x['Data/train/4980/spoof/000001.jpg'].pop(),
      "'Data/train/4980/spoof/000001.jpg' does not have 44 integers",
    ),
    (
      lambda x: x['Data/train/4980/spoof/000001.jpg'].__setitem__(40, 11),
      r'ends in \[11, .*kind 0 to 10',
    ),
    (lambda x: x.update({'Data/x.jpg': [0] * 44}), "'Data/x.jpg' is not Data/"),
    (
      lambda x: x.update({'Data/test/1/live/1.jpg': [0] * 44}),
      'is not in Data/train',
    ),
  ],
)
def test_a_list_of_another_form_is_an_error_with_its_name(
  change, message, root
):
  edit(root, change)
  if message is None:
    # Without its last picture, which the other lists still have.
    assert len(layout.list_clips(root).clips) == 52
    return
  with pytest.raises(ValueError, match=message) as caught:
    layout.list_clips(root)
  assert 'intra_test/train_label.json' in str(caught.value)


def test_two_lists_that_disagree_are_an_error(root):
  name = 'Data/train/4980/spoof/000001.jpg'
  edit(root, lambda x: x[name].__setitem__(41, 4), folder='protocol1')
  with pytest.raises(ValueError, match='has other labels than in another list'):
    layout.list_clips(root)


def test_without_its_lists_it_says_so(root):
  (root / 'metas/intra_test/test_label.json').unlink()
  with pytest.raises(FileNotFoundError, match='test_label.json is missing'):
    layout.list_clips(root)


def boxes_of(path, width, height):
  clip = listing.Clip(
    path,
    'x',
    '1',
    'train',
    1,
    'live',
    boxes=listing.Boxes(layout.read_box, path, layout.BOX_FRAME),
  )
  return clip_record.read_boxes(clip, width, height)


def test_a_box_is_scaled_from_224_pixels(tmp_path):
  path = tmp_path / '000003_BB.txt'
  path.write_text('56 28 112 56 0.998\n1 2 3 4 0.5\n')
  np.testing.assert_allclose(
    boxes_of(path, 448, 896), [[112, 112, 112 + 224, 112 + 224]]
  )
  # Known to occur: the border of the face is outside of the picture.
  path.write_text('-14 28 112 56 0.998')
  np.testing.assert_allclose(boxes_of(path, 224, 224), [[-14, 28, 98, 84]])


@pytest.mark.parametrize(
  'text',
  [
    '',
    '\n',
    '1 2 3',
    '0 0 0 0 0.9',
    '5 5 -3 8 0.9',
    '5 5 8 nan 1',
    '-40 3 20 20 1',
    '230 3 20 20 1',
    '\x00' * 9,
    '1 2 3 1e999',
  ],
)
def test_a_box_that_cannot_be_used_says_its_file(text, tmp_path):
  path = tmp_path / '004046_BB.txt'
  path.write_text(text)
  with pytest.raises(listing.ClipError, match='004046_BB.txt'):
    boxes_of(path, 224, 224)


def test_any_box_file_is_a_box_or_a_reason(texts):
  rng = np.random.default_rng(0)
  path = pathlib.Path('a_BB.txt')
  words = ['0', '-1', '12', '224', '1e9', 'nan', 'inf', 'x', '', '3.5', '\n']
  good = 0
  for _ in range(CASES):
    texts['a_BB.txt'] = ' '.join(rng.choice(words, rng.integers(0, 8)))
    try:
      box = layout.read_box(path)
    except listing.ClipError:
      continue
    good += 1
    assert box.shape == (1, 4) and np.all(np.isfinite(box))
    assert np.all(box[:, 2:] > box[:, :2])
  assert good > 20


def test_any_label_vector_is_read_or_refused(texts):
  rng = np.random.default_rng(1)
  path = pathlib.Path('train_label.json')
  odd = [None, 1.5, True, 'x', -1, 99, [], {}]
  read = 0
  for _ in range(CASES):
    numbers = [0] * 40 + [int(rng.integers(top)) for top in (11, 5, 3, 2)]
    for _ in range(rng.integers(0, 3)):
      choice = rng.integers(4)
      if choice == 0:
        numbers[rng.integers(len(numbers))] = odd[rng.integers(len(odd))]
      elif choice == 1:
        numbers.append(0)
      elif choice == 2:
        numbers[40 + rng.integers(4)] = int(rng.integers(12))
    texts['train_label.json'] = json.dumps({'Data/train/1/live/1.jpg': numbers})
    try:
      (found,) = layout.read_labels(path).values()
    except ValueError as error:
      assert 'train_label.json' in str(error)
      continue
    read += 1
    assert len(found) == 44 and found[layout.KIND] < len(layout.KINDS)
  assert CASES * 0.25 < read < CASES


def test_a_picture_in_no_list_is_left_out():
  with pytest.raises(listing.ClipError, match='in no list'):
    layout.parse(pathlib.Path('/nowhere'), 'Data/train/1/live/1.jpg', {})
