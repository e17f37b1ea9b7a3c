"""A dataset that lives in the tests alone: its folder is all that it takes.

`docs/extending.md` shows the same files as the recipe.
"""

import dataclasses
import pathlib
import re

import contract
import pytest
import trees

from nasfas_datasets import boxes, fas_builder, folders, listing, prepare
from nasfas_jax import list_protocols, records
from nasfas_jax.data import protocols
from nasfas_jax.report import family_table

HERE = pathlib.Path(__file__).parent
ADDED = HERE / 'added'
NAME = 'example_fas'
RECIPE = HERE.parents[1] / 'docs' / 'extending.md'


@pytest.fixture(scope='module', autouse=True)
def added():
  """Puts the folder on the search path, as PYTHONPATH does."""
  assert NAME not in folders.dataset_folders()
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(ADDED)
    assert folders.dataset_folders()[NAME].parents[1] == ADDED
    yield
  assert NAME not in folders.dataset_folders()
  assert not any(n.startswith(NAME) for n in protocols.all_protocols())


@pytest.fixture(scope='module')
def listed(tmp_path_factory):
  return contract.list_all(NAME, tmp_path_factory.mktemp('names'))


@pytest.fixture(scope='module')
def built(tmp_path_factory):
  folder = tmp_path_factory.mktemp('small')
  return folder, *contract.build(NAME, folder)


def test_it_keeps_what_every_dataset_keeps(listed, tmp_path):
  contract.check_folder(NAME)
  contract.check_counts(NAME, listed)
  contract.check_fields(NAME, listed)
  for k, (bad, reason) in enumerate(trees.example(NAME).REFUSED.items()):
    contract.check_refused(NAME, bad, reason, tmp_path / str(k))


def test_its_clips_become_records_and_its_protocols_select(built, listed):
  folder, rows, shards = built
  contract.check_built(NAME, folder, rows, shards)
  chosen = protocols.load(
    trees.example(NAME).SMALL_PROTOCOL, str(folder / 'data'), 'small'
  )
  assert chosen.train and chosen.dev and chosen.test
  complete = {NAME: contract.index_rows(NAME, listed.clips)}
  for name, expected in trees.example(NAME).PROTOCOL_COUNTS.items():
    assert contract.counts(name, complete) == expected


def test_it_is_listed_beside_the_others(built):
  folder, _, _ = built
  known = list(protocols.all_protocols())
  own = [name for name in known if name.startswith(f'{NAME}/')]
  assert own == [
    'example_fas/official',
    'example_fas/cross_room/hall',
    'example_fas/cross_room/attic',
  ]
  # Without a PLACE: after those with one, before the cross-dataset protocols.
  place = known.index(own[0])
  placed = [name for name in known if name.startswith('three_d_mad/')]
  assert known.index(placed[-1]) < place < known.index('cross/casia-replay')
  lines = list_protocols.table(str(folder / 'data'), 'small').splitlines()
  (line,) = [line for line in lines if line.startswith('example_fas/official')]
  assert line.split()[1:5] == ['4/8', 'dev', '2/4', '2/4']
  with pytest.raises(ValueError, match='allowed: .*example_fas/cross_room/ha'):
    protocols.get_protocol('example_fas/nope')
  with pytest.raises(ValueError, match='allowed: .*example_fas'):
    fas_builder.builder_class('nope')
  root = folder / NAME
  assert prepare.list_clips(NAME, root)['session'] == {'attic': 12, 'hall': 12}


def test_its_published_figures_stand_in_the_table():
  def result(**test):
    return {'splits': {'test': test}}

  rooms = family_table.members('example_fas/cross_room')
  text = family_table.table({name: result(hter=0.2, auc=0.9) for name in rooms})
  assert text.endswith(
    'auc 90.0 ± 0.0 | published, Example-Net: hter 25.0 ± 1.5 |'
  )


def test_a_bad_annotation_of_its_own_reader_is_a_listed_skip(tmp_path):
  root = contract.small_trees.make_tree(NAME, tmp_path / NAME)
  (root / 'train/live/01_hall.json').write_text('[[8, 8')
  shards = prepare.prepare(
    NAME,
    config='small',
    data_dir=tmp_path / 'data',
    manual_dir=root,
    allow_missing=True,
    max_bad_share=0.1,
  )
  text = (shards / 'skipped.csv').read_text()
  assert text.splitlines()[1].startswith('train/live/01_hall,')


def test_the_recipe_tells_every_word_that_a_layout_may_use():
  text = RECIPE.read_text(encoding='utf-8')
  words = [
    *records.ATTACK_TYPES,
    *boxes.READERS,
    *(field.name for field in dataclasses.fields(listing.Clip)),
    *contract.FILES,
  ]
  assert not [word for word in words if f'`{word}`' not in text]


def test_the_recipe_shows_these_very_files():
  text = RECIPE.read_text(encoding='utf-8')
  shown = dict(
    re.findall(
      r'^`datasets/example_fas/(\S+)`:\n\n```\w*\n(.*?)^```$',
      text,
      re.MULTILINE | re.DOTALL,
    )
  )
  folder = ADDED / 'nasfas_datasets' / NAME
  files = {
    path.name: path.read_text(encoding='utf-8')
    for path in folder.iterdir()
    if path.is_file() and path.name not in ('__init__.py', 'README.md')
  }
  assert shown == files
