"""Boxes of MSU-MFSD's clips, some of which are stored upside down."""

import pytest

from nasfas_datasets import clip_record, listing, video_builder

SMALL = video_builder.CONFIGS[1]
WIDTH, HEIGHT = 96, 64


def msu_clip(tmp_path, row, turn):
  path = tmp_path / 'x.face'
  path.write_text(f'{row}\n' * 3)
  return listing.Clip(
    *(tmp_path / 'x.mp4', 'x', '1', 'train', 1, 'live'),
    boxes=listing.Boxes('frame_corners', path),
    turn=turn,
  )


@pytest.mark.parametrize(
  ('row', 'turn', 'expected'),
  [
    # Eyes in the upper half: the boxes count in the upright frame.
    ('0,8,10,40,50,17,20,30,20', 0, [8, 10, 40, 50]),
    ('0,8,10,40,50,17,20,30,20', 2, [8, 10, 40, 50]),
    # Eyes in the lower half: they count in the stored one.
    ('0,8,10,40,50,17,40,30,40', 2, [56, 14, 88, 54]),
    # No eyes: they cannot tell.
    ('0,8,10,40,50', 2, [8, 10, 40, 50]),
  ],
)
def test_the_eyes_tell_how_the_boxes_of_msu_are_turned(
  row, turn, expected, tmp_path
):
  clip = msu_clip(tmp_path, row, turn)
  box, _ = clip_record.place(clip, None, SMALL, WIDTH, HEIGHT)
  assert box.tolist() == expected


def test_upside_down_boxes_of_an_upright_clip_are_a_skip(tmp_path):
  clip = msu_clip(tmp_path, '0,8,10,40,50,17,40,30,40', 0)
  with pytest.raises(listing.ClipError, match='eyes lie in the lower half'):
    clip_record.place(clip, None, SMALL, WIDTH, HEIGHT)
