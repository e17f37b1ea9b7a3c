"""The rows of a manifest: what is accepted, and one clear error otherwise."""

import codecs

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

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
  return manifest.read_manifest(path, root)


def test_fields_of_a_row(root):
  rows, bad = read(
    root,
    'split, Path ,label,subject,attack_type,camera,box_x0,box_y0,box_x1,'
    'box_y1,attack_detail\n'
    ' dev ,day/a.mp4, LIVE ,S 1,,phone,1.5,2,30,4e1,x\n',
  )
  assert bad == []
  (row,) = rows
  assert row == manifest.Row(
    number=2,
    name='day/a.mp4',
    path=root / 'day/a.mp4',
    clip_id='day/a',
    label=records.LIVE,
    attack_type='live',
    subject='S 1',
    split='dev',
    attack_detail='x',
    domains={'session': '', 'camera': 'phone', 'light': '', 'medium': ''},
    box=(1.5, 2.0, 30.0, 40.0),
    depth=None,
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
  assert [row.number for row in rows] == [3, 5]
  assert rows[1].clip_id == 'd e, "f"'
  assert [(row.number, row.path) for row in bad] == [(6, 'b.avi')]


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
    manifest.read_manifest(root / 'none.csv', root)


def test_size_is_bounded(root, monkeypatch):
  monkeypatch.setattr(manifest, 'MAX_BYTES', 40)
  with pytest.raises(ValueError, match='bytes; a manifest has at most 40'):
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
def cells(*words):
  return st.one_of(st.sampled_from(words), st.text(max_size=12))


@settings(deadline=None)
@given(
  path=cells('a.avi', 'day/a.mp4', '../outside.avi', '/etc/passwd', '.', ''),
  label=cells('live', 'Spoof', '1', '0', 'attack'),
  attack_type=cells('', 'live', 'print', 'REPLAY'),
  subject=cells('anna'),
  split=cells('train', 'dev', 'test'),
  box=st.lists(
    cells('', '0', '5', '20', '-3', 'nan', 'inf', '1e999'),
    min_size=4,
    max_size=4,
  ),
  depth=cells('', 'c.png', '../x', '\0'),
)
@example('a\0.avi', 'live', '', 'anna', 'dev', ['', '', '', ''], '')
@example('x/' * 3000, 'live', '', 'anna', 'dev', ['', '', '', ''], '')
@example('a.avi', 'live', '', 'anna', 'dev', ['0', '0', 'nan', '5'], '')
def test_any_row_is_a_clip_or_a_reason(
  root, path, label, attack_type, subject, split, box, depth
):
  row = {
    'path': path.strip(),
    'label': label.strip(),
    'attack_type': attack_type.strip(),
    'subject': subject.strip(),
    'split': split.strip(),
    **dict(zip(manifest.BOX_COLUMNS, map(str.strip, box), strict=True)),
    'depth': depth.strip(),
  }
  try:
    clip = manifest.parse_row(7, row, root)
  except manifest.RowError as error:
    assert str(error)
    return
  records.check_labels(clip.clip_id, clip.label, clip.attack_type)
  assert clip.split in records.SPLITS and clip.subject
  assert clip.path.is_file() and clip.path.is_relative_to(root)
  assert clip.depth is None or clip.depth.is_relative_to(root)
  if any(row[column] for column in manifest.BOX_COLUMNS):
    x0, y0, x1, y1 = clip.box
    given_box = [float(row[column]) for column in manifest.BOX_COLUMNS]
    # What lies outside the frame is cut off.
    assert list(clip.box) == [max(0.0, value) for value in given_box]
    assert x0 <= x1 - 1 and y0 <= y1 - 1 and x1 + y1 < float('inf')
  else:
    assert clip.box is None


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_a_manifest_or_a_clear_error(root, text):
  try:
    rows, bad = read(root, text, encoding='utf-8')
  except ValueError as error:
    assert 'manifest.csv' in str(error)
  else:
    assert rows or bad


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_under_the_header(root, data):
  path = root / 'manifest.csv'
  path.write_bytes(HEADER.encode() + b'\n' + data)
  try:
    rows, bad = manifest.read_manifest(path, root)
  except ValueError as error:
    assert 'manifest.csv' in str(error)
  else:
    assert rows == [] and bad
