"""The benchmark of an accelerator: its order, its limits, and that it runs."""

import math
import os

import jax
import pytest
from small_search import small_config

from benchmarks import accelerator, accelerator_steps, lowered, serving


@pytest.mark.parametrize('size', accelerator.SIZES)
def test_sections_are_named_once_and_compared_with_ours(size):
  listed = accelerator.sections(size)
  names = [section.name for section in listed]
  assert len(set(names)) == len(names)
  ours = {s.name for s in listed if s.of == accelerator.OURS}
  for section in listed:
    assert bool(section.compared) == (section.of == accelerator.THEIRS)
    assert section.compared in {'', *ours}
    kind = section.request['kind']
    assert kind == 'matrix rate' or kind in accelerator_steps.STEPS
  # What all shares are taken of comes first.
  assert names[0] == 'matrix rate'


class Scripted:
  """Stands for a process; answers with what it is given for each kind."""

  def __init__(self, answers, log):
    self._answers = answers
    self._log = log

  def ask(self, request, limit):
    found = self._answers[request['kind']]
    self._log.append((request['kind'], limit))
    if isinstance(found, Exception):
      raise found
    return dict(found)

  def is_alive(self):
    return True

  def __exit__(self, *_):
    self._log.append('end')


def test_a_section_that_fails_costs_itself_only():
  log, kept = [], []
  answers = {
    'a': serving.OutOfTime('no answer within 7 s'),
    'b': RuntimeError('no memory'),
    'c': {'ms': 2.0, 'clips_per_second': 1.0},
  }
  listed = [
    *(
      accelerator.Section(name, accelerator.OURS, {'kind': name})
      for name in 'abc'
    ),
    accelerator.Section('d', accelerator.THEIRS, {'kind': 'c'}),
  ]

  def start(of):
    log.append(f'start {of}')
    return Scripted(answers, log)

  found = accelerator.run(
    listed,
    start,
    lambda found: kept.append(list(found)),
    budget=100,
    missing=['torch'],
  )
  states = [(f['status'], f.get('reason', '')) for f in found.values()]
  assert states == [
    ('out of time', 'no answer within 7 s'),
    ('failed', 'no memory'),
    ('done', ''),
    ('skipped', 'torch is missing'),
  ]
  assert [part if isinstance(part, str) else part[0] for part in log] == [
    *('start jax', 'a', 'end', 'start jax', 'b', 'c', 'end')
  ]
  assert all(part[1] <= 100 for part in log if not isinstance(part, str))
  # Written after every section.
  assert kept == [['a'], ['a', 'b'], ['a', 'b', 'c'], ['a', 'b', 'c', 'd']]


def test_nothing_is_begun_without_time():
  listed = [accelerator.Section('a', accelerator.OURS, {'kind': 'a'})]
  found = accelerator.run(listed, None, lambda found: None, budget=9)
  assert found['a']['status'] == 'out of time'


def test_shares_and_ratios_by_hand():
  listed = [
    accelerator.Section('ours', accelerator.OURS, {'form': 'bfloat16'}),
    accelerator.Section('x', accelerator.THEIRS, {'form': 'bfloat16'}, 'ours'),
    accelerator.Section('y', accelerator.THEIRS, {'form': 'bfloat16'}, 'ours'),
  ]
  found = {
    'matrix rate': {'bfloat16': 500.0},
    # 1,000 GFLOP in 4 ms are 250 TFLOP/s.
    'ours': {'ms': 4.0, 'gflop': 1000.0},
    'x': {'ms': 10.0},
    'y': {'status': 'failed'},
  }
  assert accelerator.derived(found, listed) == {
    'share_of_matrix_rate': {'ours': 0.5},
    'pytorch_over_ours': {'x': 2.5},
  }


def test_a_process_answers_fails_and_hangs():
  # Without jax, so that it starts at once.
  code = (
    'import os, time\n'
    'from benchmarks import serving\n'
    'def f(request):\n'
    '  print("this goes elsewhere")\n'
    '  if request["do"] == "hang": time.sleep(60)\n'
    '  if request["do"] == "die": os._exit(3)\n'
    '  return {"twice": 2 * request["do"]}\n'
    'serving.serve(f)\n'
  )
  with serving.Server(['-c', code], dict(os.environ)) as server:
    assert server.ask({'do': 3}, 30) == {'twice': 6}
    with pytest.raises(RuntimeError, match='TypeError'):
      server.ask({'do': None}, 30)
    assert server.is_alive()
    with pytest.raises(serving.OutOfTime):
      server.ask({'do': 'hang'}, 0.05)
  with serving.Server(['-c', code], dict(os.environ)) as server:
    with pytest.raises(RuntimeError, match='ended'):
      server.ask({'do': 'die'}, 30)


def test_a_section_of_ours_runs(monkeypatch):
  monkeypatch.setattr(accelerator_steps, 'REPEAT_SECONDS', 0.0)
  # Other tests go on using what they have traced.
  monkeypatch.setattr(jax, 'clear_caches', lambda: None)
  rates = accelerator_steps.answer({'kind': 'matrix rate', 'side': 8})
  assert set(rates) == set(accelerator_steps.FORMS)
  request = {'kind': 'training', 'size': 'debug', 'batch': 2}
  request['form'] = 'bfloat16'
  found = accelerator_steps.answer(request)
  assert found['ms_low'] <= found['ms'] <= found['ms_high']
  assert found['clips_per_second'] == pytest.approx(2e3 / found['ms'])
  assert found['gflop'] > 0
  assert found['program_gib'] > 0


def test_the_other_sections_have_a_step_and_its_cost():
  for kind in ('inference', 'search', 'meta'):
    request = {'kind': kind, 'size': 'debug', 'batch': 2, 'form': 'bfloat16'}
    request['supernet'] = {'num_nodes': 1, 'space': 'small'}
    step = accelerator_steps.STEPS[kind](request)
    assert step.clips == {'inference': 2, 'search': 4, 'meta': 16}[kind]
    assert math.isfinite(step.gflop) and step.gflop > 0


def test_an_accelerator_gets_nothing_that_only_the_cpu_needs(monkeypatch):
  config = small_config(hold_out='none')
  # Few large images, which the CPU cuts into strips.
  config.data.image_size, config.supernet.num_nodes = 16, 1
  texts = {}
  for forms in (frozenset(), lowered.convolution.CPU_FORMS):
    monkeypatch.setattr(lowered.convolution, 'CPU_FORMS', forms)
    # JAX keeps what it lowered, for as long as there is what was traced.
    step = lowered.search_steps(config, 2)['weight step']
    with monkeypatch.context() as patch:
      patch.setattr(jax, 'default_backend', lambda: 1 / 0)
      for platform in ('cpu', *lowered.PLATFORMS):
        text = step.lower(platform).as_text()
        texts.setdefault(platform, set()).add(text)
  numbers = {platform: len(found) for platform, found in texts.items()}
  assert numbers == {'cpu': 2, 'cuda': 1, 'tpu': 1}
