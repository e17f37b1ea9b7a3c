"""An export folder: what is refused, and that nothing else happens."""

import copy
import json
import random

import pytest

from nasfas_jax import models
from nasfas_jax.exporting import package, sealed
from nasfas_jax.models import genotypes

PARAMS = 'params/_METADATA'


def content_of(model):
  return {
    'name': 'genotype',
    'network': package.describe_network(model),
    'trained_on': 'set/protocol',
    'needs_motion': True,
    'boxes': ['given'],
    'input': {
      'fusion': 'concat',
      'rank_pooling': 'approximate',
      'normalization': 'clip',
    },
    'reading': {
      'preparation': {
        'size': 80,
        'num_frames': 8,
        'margin': 1.6,
        'border': 'replicate',
      },
      'image_size': 16,
      'num_frames': 2,
      'num_snippets': 1,
      'face_scale': 1.28,
      'map_size': 4,
    },
    'threshold': {
      'value': 0.25,
      'rule': 'EER',
      'source': 'results.json',
      'warning': 'few',
    },
  }


def network():
  return models.build_model(
    genotypes.CDCNPP,
    stem_features=(2, 4),
    cell_features=4,
    head_features=4,
    output_size=4,
  )


def small_export(folder):
  folder.mkdir(exist_ok=True)
  (folder / 'params' / 'd').mkdir(parents=True)
  (folder / PARAMS).write_bytes(b'{"a": 1}')
  (folder / 'params' / 'd' / 'x').write_bytes(bytes(range(50)))
  (folder / 'model.onnx').write_bytes(b'graph' * 9)
  package.write(folder, content_of(network()), ['params', 'model.onnx'])
  return folder


def resealed(folder, content):
  """Writes content with a digest that fits, as an attacker would."""
  content = {**content, 'digest': sealed.digest(content)}
  (folder / 'export.json').write_text(json.dumps(content))


def test_an_export_says_what_the_network_is(tmp_path):
  content = package.read_content(small_export(tmp_path / 'export'))
  parts = package.check_parts(content)
  assert parts.model == network()
  assert parts.genotype == genotypes.CDCNPP
  assert (parts.form.fusion, parts.form.channels) == ('concat', 6)
  assert parts.threshold['value'] == 0.25
  assert parts.boxes == ('given',)
  assert parts.threshold['warning'] == 'few'
  # An earlier export.
  del content['threshold']['warning']
  assert package.check_parts(content).threshold['warning'] == ''
  del content['boxes']
  for whole, boxes in ((True, ('whole_frame',)), (False, ())):
    content['whole_frames'] = whole
    assert package.check_parts(content).boxes == boxes
  cdcn = models.build_model('cdcn', stem_features=(2, 4), cell_features=8)
  again = json.loads(json.dumps(package.describe_network(cdcn)))
  assert package.make_network(again) == cdcn
  with pytest.raises(ValueError, match='cannot be exported'):
    package.describe_network(object())


def test_a_changed_file_is_refused(tmp_path):
  folder = small_export(tmp_path / 'export')
  path = folder / 'params' / 'd' / 'x'
  data = path.read_bytes()
  for changed, message in (
    (data[:-1], "'params/d/x' has 49 bytes, not 50 as written"),
    (data[:-1] + b'\0', "'params/d/x' was changed after the export"),
  ):
    path.write_bytes(changed)
    with pytest.raises(ValueError, match=message) as caught:
      package.read(folder)
    assert '\n' not in str(caught.value)
  path.unlink()
  with pytest.raises(ValueError, match="'params/d/x' is missing"):
    package.read(folder)
  path.symlink_to(tmp_path / 'elsewhere')
  (tmp_path / 'elsewhere').write_bytes(data)
  with pytest.raises(ValueError, match="'params/d/x' is a link"):
    package.read(folder)
  path.unlink()
  path.write_bytes(data)
  (folder / 'params' / 'more').write_bytes(b'')
  with pytest.raises(ValueError, match="'params/more' is not of the export"):
    package.read(folder)


@pytest.mark.parametrize(
  'name', ['../secret', '/etc/hosts', 'a/../../b', 'c:\\x', 'a\\..\\b', './x']
)
def test_a_name_stays_in_the_folder(tmp_path, name):
  folder = small_export(tmp_path / 'export')
  (tmp_path / 'secret').write_bytes(b'')
  content = json.loads((folder / 'export.json').read_text())
  content['files'][name] = {'bytes': 0, 'sha256': '0' * 64}
  resealed(folder, content)
  with pytest.raises(ValueError, match='leads outside the folder'):
    package.read_content(folder)


def test_another_version_or_a_changed_field_is_refused(tmp_path):
  folder = small_export(tmp_path / 'export')
  text = (folder / 'export.json').read_text()
  for old, new, message in (
    ('0.25', '0.05', 'its digest does not fit'),
    ('"schema_version": 1', '"schema_version": 2', 'allowed: 1 .a newer'),
    ('nasfas_jax export', 'other', 'is not of an export'),
    ('0.25', 'NaN', 'NaN is not allowed'),
    ('0.25', '-1e999', "export.json': Out of range float"),
    (text, '[' * 100_000, 'truncated or not JSON'),
    (text, ' ' * (sealed.MAX_JSON_BYTES + 1), 'is larger than'),
  ):
    (folder / 'export.json').write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=message):
      package.read_content(folder)


def test_a_link_in_place_of_the_json_is_refused(tmp_path):
  folder = small_export(tmp_path / 'export')
  (folder / 'export.json').rename(tmp_path / 'elsewhere.json')
  (folder / 'export.json').symlink_to(tmp_path / 'elsewhere.json')
  with pytest.raises(ValueError, match="export.json' is a link"):
    package.read_content(folder)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'image_size': 4096, 'num_frames': 512}, 'reading: 512 frames of 4096'),
    ({'num_snippets': 1024, 'image_size': 512}, 'reading: 2048 frames of 512'),
    ({'preparation': {'size': 4096}}, 'reading.preparation: 32 frames of 40'),
    ({'preparation': {'border': 'none'}}, "border: 'none'; allowed: replicate"),
  ],
)
def test_sizes_and_words_are_bounded(changes, message):
  content = content_of(network())
  content['files'] = {PARAMS: {}}
  content['reading']['preparation']['num_frames'] = 32
  content['reading']['preparation'] |= changes.pop('preparation', {})
  content['reading'] |= changes
  with pytest.raises(ValueError, match=message):
    package.check_parts(content)


def test_damage_is_always_a_refusal(tmp_path):
  """2,000 flipped bits and cut files, of export.json and of the others."""
  folder = small_export(tmp_path / 'export')
  generator = random.Random(0)
  paths = [p for p in sorted(folder.rglob('*')) if p.is_file()]
  originals = {path: path.read_bytes() for path in paths}
  for _ in range(2000):
    path = generator.choice(paths)
    data = bytearray(originals[path])
    place = generator.randrange(len(data))
    if generator.random() < 0.3:
      data = data[:place]
    else:
      data[place] ^= 1 << generator.randrange(8)
    path.write_bytes(data)
    if not data.strip() or bytes(data).strip() != originals[path].strip():
      with pytest.raises(ValueError):
        package.read_content(folder)
    path.write_bytes(originals[path])
  package.read_content(folder)


def places(node, path=()):
  yield path
  if isinstance(node, dict | list):
    entries = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in entries:
      yield from places(value, (*path, key))


JUNK = [
  *(None, True, -1, 0, 1, 2**70, 1e308, -0.5, '', 'x' * 5000, '../..'),
  *([], {}, [[]], {'a': 1}, [1] * 100, 'concat', 'two_stream', 'exact'),
]


def test_fields_of_any_value_are_read_or_refused():
  """2,000 documents whose sums fit, with fields of wrong types and values."""
  original = content_of(network())
  original['files'] = {PARAMS: {}}
  generator = random.Random(1)
  known = [path for path in places(original) if path]
  refused = 0
  for _ in range(2000):
    content = copy.deepcopy(original)
    for _ in range(generator.randint(1, 2)):
      *parents, last = generator.choice(known)
      try:
        node = content
        for key in parents:
          node = node[key]
        if generator.random() < 0.2 and isinstance(node, dict):
          node.pop(last)
        else:
          node[last] = generator.choice(JUNK)
      except (KeyError, IndexError, TypeError):
        # The first change has removed the place of the second.
        continue
    try:
      parts = package.check_parts(content)
    except (ValueError, KeyError):
      refused += 1
    else:
      # What passes is bounded.
      assert parts.reading['image_size'] <= 4096
      assert parts.model.output_size == parts.reading['map_size']
  assert refused > 1500
