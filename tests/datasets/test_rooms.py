"""Version 2.0.0 of synthetic_fas: its plan, its protocols, its clips."""

import collections
import hashlib
import json
import pathlib

import numpy as np
import pytest

from nasfas_datasets import fas_builder, prepare
from nasfas_datasets.synthetic_fas import difficulty
from nasfas_datasets.synthetic_fas.v2 import (
  draws,
  motion,
  plan,
  render,
  scene,
  tables,
  view,
  written,
)
from nasfas_jax import records, stored_frames
from nasfas_jax.data import index, protocols

TINY = plan.SIZES['tiny']
FOLDER = pathlib.Path(plan.__file__).parents[1]
FROZEN = pathlib.Path(__file__).with_name('frozen_rooms.json')


def rows_of(size):
  """The rows of an index, as the builder would write them."""
  return [
    {
      'clip_id': clip.clip_id,
      'dataset': 'synthetic_fas',
      'subject': clip.subject_id,
      'split': clip.split,
      'label': int(clip.attack_type == 'live'),
      'attack_type': clip.attack_type,
      'session': clip.room_name,
      'lists': plan.UNSEEN if clip.unseen else plan.SEEN,
    }
    for clip in plan.make_plan(size)
  ]


def selected(name, size='default'):
  return protocols.select(
    protocols.get_protocol(f'synthetic_fas/{name}'), rows_of(plan.SIZES[size])
  )


def values(rows, field):
  return {row[field] for row in rows}


# --- Plan and protocols -------------------------------------------------------


@pytest.mark.parametrize('name', sorted(plan.SIZES))
def test_every_split_of_every_room_has_both_classes(name):
  size = plan.SIZES[name]
  clips = plan.make_plan(size)
  assert [clip.index for clip in clips] == list(range(len(clips)))
  assert len({clip.clip_id for clip in clips}) == len(clips)
  of = collections.defaultdict(set)
  for clip in clips:
    of[clip.split, clip.room].add(clip.attack_type == 'live')
    of[clip.split].add(clip.attack_type)
  for split in records.SPLITS:
    assert of[split] == set(plan.KINDS)
    for room in range(size.rooms):
      assert of[split, room] == {True, False}
  assert not {c.subject for c in clips if c.split == 'train'} & {
    c.subject for c in clips if c.split != 'train'
  }


def test_default_and_large_are_as_large_as_they_say():
  default, large = plan.SIZES['default'], plan.SIZES['large']
  assert default.rooms >= 10 and default.unseen >= 4
  assert large.rooms >= 24 and large.pixels == 128
  assert len(plan.make_plan(large)) >= 20000
  types = collections.Counter(c.attack_type for c in plan.make_plan(default))
  attacks = [types[kind] for kind in plan.ATTACKS]
  assert max(attacks) - min(attacks) <= 0.05 * max(attacks)


def test_many_is_default_with_more_subjects_to_train_on():
  default, many = plan.SIZES['default'], plan.SIZES['many']
  clips, more = plan.make_plan(default), plan.make_plan(many)
  assert more[: len(clips)] == clips
  new = more[len(clips) :]
  assert {clip.split for clip in new} == {'train'}
  assert len({clip.subject for clip in new}) == 224
  assert not {c.subject for c in new} & {c.subject for c in clips}
  # A subject has the same clips in either: the types take turns.
  count = collections.Counter(clip.attack_type for clip in new)
  assert max(count[k] for k in plan.ATTACKS) <= 1.02 * min(
    count[k] for k in plan.ATTACKS
  )
  for name in ('unseen_rooms', 'room/room03'):
    one, other = selected(name), selected(name, 'many')
    assert (one.dev, one.test) == (other.dev, other.test)
    assert len(other.train) == 8 * len(one.train)
  for made, same in zip(
    scene.make(clips[50], default), scene.make(more[50], many), strict=True
  ):
    np.testing.assert_array_equal(made, same)


@pytest.mark.parametrize('name', ['default', 'large'])
def test_the_test_set_is_large_enough_for_its_interval(name):
  """HTER within 0.03 where APCER and BPCER are 0.15 and errors correlate."""
  chosen = selected('unseen_rooms', name)
  live = sum(row['label'] for row in chosen.test)
  subjects = len(values(chosen.test, 'subject'))
  width = plan.half_width(0.15, live, len(chosen.test) - live, subjects, 0.1)
  assert width <= 0.03
  # Half as many subjects would not do.
  if name == 'default':
    assert (
      plan.half_width(
        0.15, live // 2, (len(chosen.test) - live) // 2, subjects // 2, 0.1
      )
      > 0.03
    )


def test_the_interval_is_that_of_simulated_errors():
  rng = np.random.default_rng(0)
  error, rho, subjects, live, attacks = 0.2, 0.15, 40, 160, 320
  strength = 1 / rho - 1  # Of a beta distribution with this correlation.
  hters = []
  for _ in range(4000):
    rates = rng.beta(error * strength, (1 - error) * strength, (2, subjects))
    wrong = [
      rng.binomial(number // subjects, rates[k]).sum() / number
      for k, number in enumerate((live, attacks))
    ]
    hters.append(np.mean(wrong))
  want = plan.half_width(error, live, attacks, subjects, rho)
  assert 1.96 * np.std(hters) == pytest.approx(want, rel=0.05)


def test_correlation_is_that_of_simulated_errors():
  rng = np.random.default_rng(1)
  for rho in (0.0, 0.3):
    strength = 1 / max(rho, 1e-9) - 1
    rates = rng.beta(0.3 * strength, 0.7 * strength, 4000) if rho else 0.3
    wrong = rng.random((6, 4000)) < rates
    names = np.broadcast_to(np.arange(4000), (6, 4000))
    # Few groups are enough, and the function loops over them.
    part = names.ravel() < 1500
    got = difficulty.correlation(wrong.ravel()[part], names.ravel()[part])
    assert got == pytest.approx(rho, abs=0.04)


def test_default_protocol_holds_out_rooms_and_subjects():
  unseen, seen = selected('unseen_rooms'), selected('seen_rooms')
  rooms = values(unseen.test, 'session')
  assert len(rooms) == 4
  trained = values(unseen.train, 'session')
  assert len(trained) == 8 and not rooms & trained
  assert values(unseen.dev, 'session') == trained
  assert unseen.train == seen.train and unseen.dev == seen.dev
  assert values(seen.test, 'session') == trained
  for chosen in (unseen, seen):
    parts = [
      values(p, 'subject') for p in (chosen.train, chosen.dev, chosen.test)
    ]
    assert len(set.union(*parts)) == sum(map(len, parts))


@pytest.mark.parametrize(
  ('family', 'size'), [('room', 'default'), ('large_room', 'large')]
)
def test_each_room_can_be_held_out(family, size):
  known = [
    name.rpartition('/')[2]
    for name in protocols.all_protocols()
    if name.startswith(f'synthetic_fas/{family}/')
  ]
  assert known == [plan.room_name(k) for k in range(plan.SIZES[size].rooms)]
  chosen = selected(f'{family}/room03', size)
  assert values(chosen.test, 'session') == {'room03'}
  assert values(chosen.train, 'session') == set(known) - {'room03'}


@pytest.mark.parametrize('kind', plan.ATTACKS)
def test_each_type_can_be_held_out(kind):
  chosen = selected(f'type/{kind}')
  assert kind not in values(chosen.train + chosen.dev, 'attack_type')
  assert values(chosen.test, 'attack_type') == {'live', kind}
  both = selected(f'unseen_rooms_type/{kind}')
  assert kind not in values(both.train + both.dev, 'attack_type')
  assert values(both.test, 'attack_type') == {'live', kind}
  assert not values(both.train, 'session') & values(both.test, 'session')
  assert len(values(both.test, 'session')) == 4


# --- Versions -----------------------------------------------------------------


def test_each_protocol_takes_its_version_only(tmp_path):
  with pytest.raises(FileNotFoundError) as error:
    protocols.load('synthetic_fas/unseen_rooms', str(tmp_path), 'tiny')
  assert '--config=tiny' in str(error.value)
  assert '--version=2.0.0' in str(error.value)
  # Another version is there: it is named, and not taken.
  folder = tmp_path / 'synthetic_fas' / 'tiny' / '1.0.0'
  folder.mkdir(parents=True)
  (folder / records.INDEX_FILE).write_text('')
  with pytest.raises(FileNotFoundError, match=r'needs version 2\.0\.0 .*is'):
    protocols.load('synthetic_fas/unseen_rooms', str(tmp_path), 'tiny')
  second = tmp_path / 'synthetic_fas' / 'tiny' / '2.0.0'
  second.mkdir()
  (second / records.INDEX_FILE).write_text('')
  for version in ('1.0.0', '2.0.0'):
    found = index.find_dataset(tmp_path, 'synthetic_fas', 'tiny', version)
    assert found.name == version
  assert index.find_dataset(tmp_path, 'synthetic_fas', 'tiny').name == '2.0.0'


def test_unknown_versions_are_refused(tmp_path):
  for config, version, known in (
    ('tiny', '3.0.0', '2.0.0, 1.0.0'),
    ('large', '1.0.0', r'2.0.0\.'),
  ):
    with pytest.raises(ValueError, match=f"'{version}'.*allowed: {known}"):
      prepare.prepare(
        'synthetic_fas', config=config, version=version, data_dir=tmp_path
      )
  assert not list(tmp_path.iterdir())


# --- Building -----------------------------------------------------------------


def test_a_stopped_build_goes_on_and_processes_do_not_matter(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(render, 'CHUNK', 2)
  clips = plan.make_plan(TINY)[:4]
  two, one = tmp_path / 'two', tmp_path / 'one'
  assert list(render.write_chunks(clips, TINY, two, num_workers=2)) == [2, 2]
  kept = render.chunk_path(two, clips[:2])
  before = kept.stat().st_mtime_ns
  render.chunk_path(two, clips[2:]).unlink()
  assert list(render.write_chunks(clips, TINY, two, num_workers=1)) == [2, 2]
  assert kept.stat().st_mtime_ns == before
  assert list(render.write_chunks(clips, TINY, one, num_workers=1)) == [2, 2]
  for part in render.chunks(clips):
    for first, second in zip(
      render.read_chunk(one, part), render.read_chunk(two, part), strict=True
    ):
      assert first[0] == second[0]
      assert first[1] == second[1] and len(first[1]) == 8
      for a, b in zip(first[2:], second[2:], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope='module')
def built(tmp_path_factory):
  """The prepared tiny config: (folder, records by clip id)."""
  folder = tmp_path_factory.mktemp('rooms')
  done = []
  path = prepare.prepare(
    'synthetic_fas', config='tiny', version='2.0.0', data_dir=folder,
    progress=lambda *args: done.append(args),
  )  # fmt: skip
  builder = fas_builder.builder_class('synthetic_fas')(
    config='tiny', version='2.0.0', data_dir=folder
  )
  assert done[-1] == (108, 108)
  assert builder.num_finished == 0
  found = {
    record['clip_id'].decode(): record
    for split in records.SPLITS
    for record in builder.as_data_source(split)
  }
  return path, found


def test_records_are_those_of_the_plan(built):
  path, found = built
  assert path.name == '2.0.0'
  clips = plan.make_plan(TINY)
  assert found.keys() == {clip.clip_id for clip in clips}
  rows = [
    json.loads(line)
    for line in (path / records.INDEX_FILE).read_text().splitlines()
  ]
  assert len(rows) == len(clips)
  by_id = {row['clip_id']: row for row in rows}
  for want in rows_of(TINY):
    got = by_id[want['clip_id']]
    assert {name: got[name] for name in want} == want
    assert got['num_frames'] == 8 and got['fps'] == 8.0
  assert len({row['digest'] for row in rows}) == len(rows)
  assert not list(path.parent.glob('finished-*'))


def test_depth_is_where_the_face_is(built):
  _, found = built
  for clip in plan.make_plan(TINY):
    record = found[clip.clip_id]
    depth, box = record['depth'], record['face_box']
    np.testing.assert_array_equal(depth.max((1, 2)), 255)
    rows, columns = np.nonzero(depth.max(0))
    middle = [(columns.min() + columns.max() + 1) * 40 / 32,
              (rows.min() + rows.max() + 1) * 40 / 32]  # fmt: skip
    np.testing.assert_allclose(
      middle, [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], atol=7
    )
    if clip.medium in ('paper_flat', 'phone_oled', 'tablet_lcd', 'monitor_lcd'):
      # A plane: linear in the place.
      y, x = np.nonzero(depth[3])
      design = np.stack([y, x, np.ones_like(x)], axis=1)
      level = depth[3][y, x].astype(float)
      fit = design @ np.linalg.lstsq(design, level, rcond=None)[0]
      assert np.abs(fit - level).max() < 1.5
    elif clip.attack_type in ('live', 'mask_rigid'):
      assert depth[3][depth[3] > 0].min() < 190


# --- Clips --------------------------------------------------------------------


def test_a_clip_is_a_function_of_plan_and_size(built):
  clips = plan.make_plan(TINY)
  chosen = {clip.attack_type: clip for clip in clips[::-1]}
  for clip in chosen.values():
    first, again = scene.make(clip, TINY), scene.make(clip, TINY)
    for a, b in zip(first, again, strict=True):
      np.testing.assert_array_equal(a, b)
    frames, depth, _ = first
    assert frames.shape == (8, 80, 80, 3) and frames.dtype == np.uint8
    record = built[1][clip.clip_id]
    np.testing.assert_array_equal(depth, record['depth'])
    np.testing.assert_array_equal(
      frames, stored_frames.decode(record['frames'])
    )
    assert 30 < frames.mean() < 220 and frames.std() > 12
    # It moves.
    assert np.abs(frames[0].astype(int) - frames[4]).mean() > 0.5


@pytest.mark.parametrize('name', ['large', 'wide'])
def test_other_configs_have_their_sides(name):
  size = plan.SIZES[name]
  frames, depth, box = scene.make(plan.make_plan(size)[0], size)
  assert frames.shape == (8, size.pixels, size.pixels, 3)
  assert depth.shape == (8, 32, 32)
  assert box[2] - box[0] == box[3] - box[1] == size.face
  margin = {'large': 1.6, 'wide': 2.72}[name]
  assert size.pixels / size.face == pytest.approx(margin)


def test_who_blinks_speaks_and_turns():
  for kind in plan.KINDS:
    drawn = [motion.sample(draws.generator(k, 9), kind, 8) for k in range(12)]
    blinks = any(d['openness'].min() < 0.2 for d in drawn)
    assert blinks == (kind in ('live', 'replay'))
    behind = any(d['behind'].min() < 0.2 for d in drawn)
    assert behind == (kind == 'print_cut' or kind.startswith('mask'))
    turns = max(np.ptp(d['yaw']) for d in drawn)
    assert (turns > 0.05) == (not kind.startswith('print'))
    speaks = any(np.ptp(d['mouth']) > 0.1 for d in drawn)
    assert speaks == (kind in ('live', 'replay'))
    carried = max(np.ptp(d['plane_yaw']) for d in drawn)
    assert (carried > 0) == (kind in ('print', 'print_cut', 'replay'))


def test_rooms_are_draws_of_one_table():
  """Seen and unseen rooms are draws alike: by number alone."""
  drawn = [view.room(3, number) for number in range(300)]
  for name, spread in tables.ROOM.items():
    seen = [room[name] for room in drawn]
    if isinstance(spread, draws.Choice):
      assert set(seen) == set(spread.values)
      continue
    assert spread.low <= min(seen) and max(seen) <= spread.high
    middle = spread.low + (spread.high - spread.low) / 2
    if isinstance(spread, draws.LogUniform):
      middle = np.sqrt(spread.low * spread.high)
    assert 0.4 < np.mean(np.array(seen) < middle) < 0.6


def test_the_page_of_distributions_is_that_of_the_tables():
  page = (FOLDER / 'distributions.md').read_text()
  assert page == written.page()


# --- Frozen -------------------------------------------------------------------


def summary(clip):
  """Numbers of a clip that hardly feel how a processor rounds."""
  frames, depth, _ = scene.make(clip, TINY)
  pictures = frames.astype(float)
  quarters = [
    pictures[k].reshape(2, 40, 2, 40, 3).mean((1, 3)).ravel() for k in (0, 7)
  ]
  fine = np.abs(np.diff(pictures, axis=2)).mean()
  moved = np.abs(np.diff(pictures, axis=0)).mean()
  return [*np.concatenate(quarters), fine, moved, depth.mean()]


def drawn_numbers():
  """A digest of what is drawn for some rooms, subjects and clips."""
  digest = hashlib.sha256()
  for number in range(24):
    drawn = {
      **view.room(TINY.seed, number),
      **draws.draw(draws.generator(TINY.seed, 0, number), tables.PERSON),
      **draws.draw(draws.generator(TINY.seed, 1, number), tables.CLIP),
    }
    rounded = {
      name: round(value, 6) if isinstance(value, float) else value
      for name, value in drawn.items()
    }
    digest.update(json.dumps(rounded).encode())
  return digest.hexdigest()


def test_no_change_of_the_simulator_goes_unseen():
  """It is frozen: a change that alters a clip is a new version."""
  frozen = json.loads(FROZEN.read_text())
  assert drawn_numbers() == frozen['drawn']
  clips = {clip.attack_type: clip for clip in plan.make_plan(TINY)[::-1]}
  assert clips.keys() == frozen['clips'].keys()
  for kind, clip in clips.items():
    np.testing.assert_allclose(
      summary(clip), frozen['clips'][kind], atol=0.3, err_msg=kind
    )
