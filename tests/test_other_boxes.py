"""A training and a search say which sets have face boxes from elsewhere."""

import pytest

from nasfas_configs import search as search_config
from nasfas_configs import train as train_config
from nasfas_jax import run_log, search, settings, train
from nasfas_jax.data import protocols


def rows(box, number=12):
  return [
    {'label': i % 2, 'num_frames': 8, 'properties': {'box': box}}
    for i in range(number)
  ]


class Started(Exception):
  """The run has said what it has to say of its clips."""


def stop(*args, **kwargs):
  raise Started


@pytest.mark.parametrize('experiment', ['train', 'search'])
@pytest.mark.parametrize('boxes', ['given', 'whole_frame'])
def test_a_boxed_training_says_that_it_is_judged_on_whole_frames(
  experiment, boxes, tmp_path, monkeypatch, capsys
):
  selection = protocols.Selection(
    rows('given'), rows('given'), rows(boxes), 'dev'
  )
  monkeypatch.setattr(settings, 'selection', lambda config: selection)
  monkeypatch.setattr(run_log, 'start', lambda *args: None)
  monkeypatch.setattr(train, 'check_clips', lambda *args: None)
  monkeypatch.setattr(train, 'fit_and_judge', stop)
  monkeypatch.setattr(search, 'make_search', lambda *args: None)
  monkeypatch.setattr(search, 'find', stop)
  if experiment == 'train':
    config = train_config.get_config('debug')
    config.model = 'cdcn'
    run = train.train
  else:
    config = search_config.get_config('debug')
    run = search.search
  with pytest.raises(Started):
    run(config, tmp_path)
  said = capsys.readouterr().err
  expected = (
    'WARNING: face boxes of the training clips: given 12; of test: none, the '
    'whole frame is taken 12. '
  )
  assert (expected in said) == (boxes == 'whole_frame')
  assert 'of dev' not in said
