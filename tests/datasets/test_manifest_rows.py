"""The rows of a manifest: what is accepted, and one clear error otherwise."""

import codecs

import numpy as np
import pytest
from fuzz_cases import CASES

from nasfas_datasets import listing, text_files
from nasfas_datasets.manifest_fas import manifest
from nasfas_jax import records

HEADER = 'path,label,attack_type,subject,split'


@pytest.fixture(scope='module')
def root(tmp_path_factory):
  root = tmp_path_factory.mktemp('mine').resolve()
  (root / 'day').mkdir()
  for name in ('a.avi', 'b.avi', 'c.png', 'day/a.mp4', 'd e, "f".avi'):
    (root / name).write_bytes(b'not decoded here')
  (root.parent / 'outside.avi').write_bytes(b'secret')
  return root


def read(root, text, encoding='utf-8'):
  path = root / 'manifest.csv'
  path.write_bytes(text.encode(encoding))
  found = manifest.list_clips(root)
  assert found.skipped == []
  return found.clips, found.bad


def test_fields_of_a_row(root):
  rows, bad = read(
    root,
    'split, Path ,label,subject,attack_type,camera,box_x0,box_y0,box_x1,'
    'box_y1,attack_detail\n'
    ' dev ,day/a.mp4, LIVE ,S 1,,phone,1.5,2,30,4e1,x\n',
  )
  assert bad == []
  (row,) = rows
  assert (row.row, row.name) == (2, 'day/a.mp4')
  assert row == listing.Clip(
    path=root / 'day/a.mp4',
    clip_id='day/a',
    label=records.LIVE,
    attack_type='live',
    subject='S 1',
    split='dev',
    attack_detail='x',
    camera='phone',
    box=(1.5, 2.0, 30.0, 40.0),
  )


@pytest.mark.parametrize(
  'label, kind, expected',
  [
    ('live', '', 1),
    ('Live', 'LIVE', 1),
    ('bonafide', '', 1),
    ('1', 'live', 1),
    ('spoof', 'print', 0),
    ('SPOOF', 'Mask_Rigid', 0),
    ('attack', 'replay', 0),
    ('0', 'makeup_cosmetic', 0),
  ],
)
def test_label_words(root, label, kind, expected):
  ((row,), bad) = read(root, f'{HEADER}\na.avi,{label},{kind},anna,train\n')
  assert bad == []
  assert row.label == expected
  assert row.attack_type == (kind.lower() or 'live')


def test_rows_are_counted_as_in_a_spreadsheet(root):
  rows, bad = read(
    root,
    f'{HEADER}\n\na.avi,live,,anna,train\n,,,,\n"d e, ""f"".avi",live,,ben,'
    'dev\nb.avi,live,,"",dev\n',
  )
  assert [row.row for row in rows] == [3, 5]
  assert rows[1].clip_id == 'd e, "f"'
  assert [(row.row, row.name) for row in bad] == [(6, 'b.avi')]


def test_clip_ids_are_unique(root):
  names = ('a.avi', 'a.mp4', 'b.avi', 'a.mp4.mov', 'day/a.mp4')
  for name in names:
    (root / name).write_bytes(b'not decoded here')
  lines = ''.join(f'{name},live,,anna,dev\n' for name in names)
  rows, bad = read(root, f'{HEADER}\n{lines}')
  assert bad == []
  assert [row.clip_id for row in rows] == [
    'a.avi',
    'a.mp4',
    'b',
    'a.mp4.mov',
    'day/a',
  ]


def test_byte_order_mark_and_line_ends(root):
  rows, bad = read(
    root, f'{HEADER}\r\na.avi,live,,Zoë,train\r\n', encoding='utf-8-sig'
  )
  assert (root / 'manifest.csv').read_bytes().startswith(codecs.BOM_UTF8)
  assert bad == [] and rows[0].subject == 'Zoë'


@pytest.mark.parametrize('column', manifest.REQUIRED_COLUMNS)
def test_missing_column(root, column):
  names = [name for name in HEADER.split(',') if name != column]
  with pytest.raises(ValueError, match=f"'{column}' is missing.*allowed: path"):
    read(root, f'{",".join(names)}\na,b,c,d\n')


@pytest.mark.parametrize(
  'text, message',
  [
    ('', 'no rows'),
    (f'{HEADER}\n', 'no rows'),
    (f'{HEADER},sesion\na,b,c,d,e,f\n', "unknown column 'sesion'; allowed"),
    (f'{HEADER},path\na,b,c,d,e,f\n', "'path' stands twice"),
    (f'{HEADER},box_x0\na,b,c,d,e,f\n', 'only box_x0 is given'),
    (HEADER.replace(',', ';') + '\na;b;c;d;e\n', "'path' is missing"),
    (f'{HEADER}\n"a.avi,live,,anna,train\n', 'not a CSV file'),
  ],
)
def test_a_file_that_is_no_manifest(root, text, message):
  with pytest.raises(ValueError, match=message):
    read(root, text)


def test_not_utf8(root):
  with pytest.raises(ValueError, match='not UTF-8'):
    read(root, f'{HEADER}\na.avi,live,,Zoë,train\n', encoding='latin-1')


def test_no_manifest(root):
  with pytest.raises(FileNotFoundError, match='columns path, label'):
    manifest.list_clips(root, 'none.csv')


def test_size_is_bounded(root, monkeypatch):
  monkeypatch.setattr(manifest, 'MAX_BYTES', 40)
  with pytest.raises(ValueError, match='bytes; at most 40 are read'):
    read(root, f'{HEADER}\na.avi,live,,anna,train\n')


def test_subject_in_two_splits(root):
  with pytest.raises(
    ValueError,
    match=r"subject 'anna' is in the split 'train' \(row 2\) and in 'test' "
    r'\(row 4\)',
  ):
    read(
      root,
      f'{HEADER}\na.avi,live,,anna,train\nc.png,live,,ben,dev\n'
      'b.avi,live,,anna,test\n',
    )


def test_a_skipped_row_does_not_count_as_a_subject(root):
  rows, bad = read(
    root, f'{HEADER}\na.avi,live,,anna,train\nb.avi,what,,anna,test\n'
  )
  assert len(rows) == len(bad) == 1


# Words that get past the first checks, mixed with anything.
WORDS = {
  'path': ['a.avi', 'day/a.mp4', '../outside.avi', '/etc/passwd', '.', ''],
  'label': ['live', 'Spoof', '1', '0', 'attack', ''],
  'attack_type': ['', 'live', 'print', 'REPLAY'],
  'subject': ['anna'],
  'split': ['train', 'dev', 'test'],
  'depth': ['', 'c.png', '../x', '\0'],
  **dict.fromkeys(
    manifest.BOX_COLUMNS,
    ['', '0', '5', '20', '-3', '0.5', 'nan', 'inf', '1e999'],
  ),
}
ODD = [
  'a\0.avi',
  'x/' * 3000,
  '\ud800',
  'é' * 300,
  '\u2028',
  'x.avi\n',
  '"',
  '١',
]


KNOWN = np.array([ord(c) for c in 'path,label\n"\r; 019.-e\t\\'])


def random_text(rng, length):
  """Any characters, most of them such as a manifest has."""
  count = rng.integers(length)
  codes = KNOWN[rng.integers(len(KNOWN), size=count)]
  codes = np.where(
    rng.random(count) < 0.1, rng.integers(1, 0xD800, count), codes
  )
  return ''.join(map(chr, codes))


def random_row(rng):
  def cell(words):
    kind = rng.random()
    if kind < 0.8:
      return words[rng.integers(len(words))]
    if kind < 0.9:
      return ODD[rng.integers(len(ODD))].strip()
    return random_text(rng, 12).strip()

  row = {name: cell(words) for name, words in WORDS.items()}
  if rng.random() < 0.5:
    row.update(dict.fromkeys(manifest.BOX_COLUMNS, ''))
  return row


def test_any_row_is_a_clip_or_a_reason(root):
  rng = np.random.default_rng(0)
  accepted = 0
  for _ in range(CASES):
    row = random_row(rng)
    try:
      clip = manifest.parse_row(7, row, root)
    except listing.ClipError as error:
      assert str(error)
      continue
    accepted += 1
    records.check_labels(clip.clip_id, clip.label, clip.attack_type, clip.split)
    assert clip.split in records.SPLITS and clip.subject
    assert clip.path.is_file() and clip.path.resolve().is_relative_to(root)
    assert clip.depth is None or clip.depth.resolve().is_relative_to(root)
    if any(row[column] for column in manifest.BOX_COLUMNS):
      x0, y0, x1, y1 = clip.box
      assert list(clip.box) == [float(row[c]) for c in manifest.BOX_COLUMNS]
      assert x0 <= x1 - 1 and y0 <= y1 - 1 and x1 + y1 < float('inf')
      assert max(clip.box) > 1
    else:
      assert clip.box is None
  assert accepted > 5


def test_any_text_is_a_manifest_or_a_clear_error(root):
  rng = np.random.default_rng(1)
  path = root / 'manifest.csv'
  for number in range(CASES):
    text = random_text(rng, 200)
    data = text.encode('utf-8')
    if number % 3 == 1:
      data = HEADER.encode() + b'\n' + data
    if number % 3 == 2:
      data = HEADER.encode() + b'\n' + rng.bytes(rng.integers(100))
    try:
      found = manifest.parse_text(text_files.decode(data, path), path, root)
    except ValueError as error:
      assert 'manifest.csv' in str(error)
    else:
      assert found.clips == [] and found.bad


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'utf-32'])
def test_a_byte_order_mark_tells_the_encoding(root, encoding):
  rows, bad = read(root, f'{HEADER}\na.avi,live,,Zoë,train\n', encoding)
  assert bad == [] and rows[0].subject == 'Zoë'


def test_utf16_without_a_mark_names_the_file(root):
  with pytest.raises(
    ValueError, match=r'manifest\.csv is not UTF-8 text: .*UTF-16'
  ):
    read(root, f'{HEADER}\na.avi,live,,anna,train\n', 'utf-16-le')


@pytest.mark.parametrize(
  ('first', 'second'),
  [
    ('anna', 'Anna'),
    ('anna b', 'anna_b'),
    ('s7', 'S 007'),
    ('Zoe\u0308', 'Zo\u00eb'),
    ('ａｎｎａ', 'anna'),
    # One letter, in another picture of it.
    ('\u8fbb', '\u8fbb\U000e0101'),
    # One vowel of Devanagari, as one sign and as two.
    ('\u0958\u093e', '\u0915\u093c\u093e'),
  ],
)
def test_one_person_spelled_in_two_ways_in_two_splits(root, first, second):
  with pytest.raises(ValueError, match='look like one person') as caught:
    read(
      root, f'{HEADER}\na.avi,live,,{first},train\nb.avi,live,,{second},dev\n'
    )
  assert repr(first) in str(caught.value) and repr(second) in str(caught.value)


@pytest.mark.parametrize(
  ('first', 'second'),
  [
    ('1_12', '11_2'),
    ('anna', 'hanna'),
    ('10', '1'),
    ('0', ''),
    ('?', '!'),
    # Vowels that are marks: Devanagari, Bengali, Thai, Tamil, Arabic.
    ('\u0930\u093e\u092e', '\u0930\u092e\u093e'),
    ('\u092e\u0940\u0928\u093e', '\u092e\u094b\u0928\u093e'),
    ('\u0986\u09b2\u09c0', '\u0986\u09b2\u09cb'),
    ('\u0e21\u0e32\u0e19\u0e35', '\u0e21\u0e32\u0e19\u0e34'),
    ('\u0bae\u0bbe', '\u0bae\u0bbf'),
    ('\u0639\u064e\u0644', '\u0639\u0650\u0644'),
  ],
)
def test_names_that_differ_are_two_persons(first, second):
  assert listing.plain_name(first) != listing.plain_name(second)


@pytest.mark.parametrize('box', ['0,0,1,1', '0.2,0.1,0.8,0.9', '0,0,0.5,1'])
def test_a_box_in_shares_of_the_frame_is_a_bad_row(root, box):
  header = f'{HEADER},{",".join(manifest.BOX_COLUMNS)}'
  rows, (bad,) = read(root, f'{header}\na.avi,live,,anna,train,{box}\n')
  assert rows == [] and 'boxes are in pixels' in bad.reason


def test_a_linked_folder_is_read_and_a_linked_file_is_not(root, tmp_path):
  (tmp_path / 'a.avi').write_bytes(b'elsewhere')
  (root / 'disk').symlink_to(tmp_path)
  (root / 'out.avi').symlink_to(tmp_path / 'a.avi')
  (root / 'again').symlink_to(root / 'day')
  rows, bad = read(
    root,
    f'{HEADER}\ndisk/a.avi,live,,anna,train\nout.avi,live,,anna,train\n'
    'day/a.mp4,live,,anna,train\nagain/a.mp4,live,,anna,train\n',
  )
  assert [row.clip_id for row in rows] == ['disk/a', 'day/a']
  assert 'a link out of the folder' in bad[0].reason
  assert 'the same file as in row 4' in bad[1].reason
