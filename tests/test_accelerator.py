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
    self.part = {}

  def ask(self, request, limit):
    found = self._answers[request['kind']]
    self._log.append((request['kind'], limit))
    if isinstance(found, Exception):
      self.part = {'clips': 4}
      raise found
    return dict(found)

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

  def start(of, flags):
    log.append(f'start {of} {flags}'.strip())
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
  # What the failed ones had told by then.
  assert [f.get('clips') for f in found.values()] == [4, 4, None, None]
  assert [part if isinstance(part, str) else part[0] for part in log] == [
    *('start jax', 'a', 'end', 'start jax', 'b', 'end'),
    *('start jax', 'c', 'end'),
  ]
  assert all(part[1] <= 100 for part in log if not isinstance(part, str))
  # Written after every section.
  assert kept == [['a'], ['a', 'b'], ['a', 'b', 'c'], ['a', 'b', 'c', 'd']]


def test_nothing_is_begun_without_time():
  log = []
  long = accelerator.LEAST_TO_SEARCH
  listed = [
    accelerator.Section('a', accelerator.OURS, {'kind': 'a'}, least=long),
    accelerator.Section('b', accelerator.OURS, {'kind': 'b'}),
  ]
  for budget, states in (
    (9, ['out of time'] * 2),
    (20, ['out of time', 'done']),
  ):
    found = accelerator.run(
      listed,
      lambda of, flags: Scripted({'b': {}}, log),
      lambda found: None,
      budget=budget,
    )
    assert [figures['status'] for figures in found.values()] == states


def test_shares_and_ratios_by_hand():
  def section(name, kind, of=accelerator.OURS, compared='', flags=''):
    request = {'form': 'bfloat16', 'kind': kind}
    return accelerator.Section(name, of, request, compared, flags=flags)

  listed = [
    section('ours', 'training'),
    section('plain', 'search'),
    section('plain, full remat', 'search'),
    section('tasks', 'meta'),
    section('plain, flags', 'search', flags='--b=2'),
    section('tasks, flags', 'meta', flags='--b=2'),
    section('crops', 'augmentation'),
    section('x', 'training', accelerator.THEIRS, 'ours'),
    section('y', 'training', accelerator.THEIRS, 'ours'),
  ]
  found = {
    'matrix rate': {'bfloat16': 500.0},
    # 1,000 GFLOP in 4 ms are 250 TFLOP/s.
    'ours': {'ms': 4.0, 'gflop': 1000.0, 'clips': 8},
    'plain': {'ms': 20.0, 'gflop': 1000.0, 'clips': 10},
    'plain, full remat': {'ms': 10.0, 'gflop': 1000.0, 'clips': 10},
    'tasks': {'ms': 60.0, 'gflop': 3000.0, 'clips': 20, 'status': 'failed'},
    'plain, flags': {'ms': 40.0, 'gflop': 1000.0, 'clips': 10},
    'tasks, flags': {'ms': 60.0, 'gflop': 3000.0, 'clips': 20},
    'crops': {'ms': 1.0, 'gflop': 0.0, 'clips': 8},
    'x': {'ms': 10.0},
    'y': {'status': 'failed'},
  }
  assert accelerator.derived(found, listed) == {
    'share_of_matrix_rate': {
      'ours': 0.5,
      'plain': 0.1,
      'plain, full remat': 0.2,
      'tasks': 0.1,
      'plain, flags': 0.05,
      'tasks, flags': 0.1,
    },
    'pytorch_over_ours': {'x': 2.5},
    # 3 ms a clip against 2 ms; with the flags against 4.
    'meta_over_plain': {'tasks': 1.5, 'tasks, flags': 0.75},
  }


def test_one_process_of_ours_has_the_memory_of_a_gpu(monkeypatch):
  started = []
  caches = []

  def server(command, environ):
    started.append(environ)
    caches.append(command[2:])

  monkeypatch.setattr(serving, 'Server', server)
  for name in accelerator._MEMORY:
    monkeypatch.delenv(name, raising=False)
  start = accelerator.starter('folder')
  start(accelerator.OURS, '')
  start(accelerator.THEIRS, '')
  monkeypatch.setenv('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
  monkeypatch.setenv('XLA_FLAGS', '--a=1')
  start(accelerator.OURS, '--b=2')
  shares = [e.get('XLA_CLIENT_MEM_FRACTION') for e in started]
  assert shares == ['0.9', None, None]
  assert started[1]['JAX_PLATFORMS'] == 'cpu'
  assert started[2]['XLA_FLAGS'] == '--a=1 --b=2'
  # What one has tried is not found by one that is not to try.
  assert caches == [['folder/default'], [], ['folder/b=2']]


def test_flags_are_given_to_a_process_of_their_own():
  log = []

  def start(*runs):
    log.append(runs)
    return Scripted({'a': {}}, [])

  listed = [
    accelerator.Section(str(i), accelerator.OURS, {'kind': 'a'}, flags=flags)
    for i, flags in enumerate(('', '', '--b=2', '--b=2', ''))
  ]
  accelerator.run(listed, start, lambda found: None, budget=100)
  assert log == [('jax', ''), ('jax', '--b=2'), ('jax', '')]


def test_a_process_answers_fails_and_hangs():
  # Without jax, so that it starts at once. A process that it has started holds
  # its outputs, as a compiler may.
  code = (
    'import os, subprocess, sys, time\n'
    'from benchmarks import serving\n'
    'def f(request, tell):\n'
    '  print("this goes elsewhere")\n'
    '  os.write(1, b"and this too")\n'
    '  tell({"so far": 1})\n'
    '  if request["do"] == "hang":\n'
    '    subprocess.Popen([sys.executable, "-c", "input()"])\n'
    '    time.sleep(60)\n'
    '  if request["do"] == "die": os._exit(3)\n'
    '  return {"twice": 2 * request["do"]}\n'
    'serving.serve(f)\n'
  )
  with serving.Server(['-c', code], dict(os.environ)) as server:
    assert server.ask({'do': 3}, 30) == {'twice': 6}
    with pytest.raises(RuntimeError, match='TypeError'):
      server.ask({'do': None}, 30)
    with pytest.raises(serving.OutOfTime):
      server.ask({'do': 'hang'}, 0.5)
    assert server.part == {'so far': 1}
  with serving.Server(['-c', code], dict(os.environ)) as server:
    with pytest.raises(RuntimeError, match='ended'):
      server.ask({'do': 'die'}, 30)
    assert server.part == {'so far': 1}


def test_a_section_of_ours_runs(monkeypatch):
  monkeypatch.setattr(accelerator_steps, 'REPEAT_SECONDS', 0.0)
  # Other tests go on using what they have traced.
  monkeypatch.setattr(jax, 'clear_caches', lambda: None)
  told = []
  rates = accelerator_steps.answer({'kind': 'matrix rate', 'side': 8}, told)
  assert set(rates) == set(accelerator_steps.FORMS)
  request = {'kind': 'training', 'size': 'debug', 'batch': 2}
  request['form'] = 'bfloat16'
  found = accelerator_steps.answer(request, lambda part: told.append({**part}))
  assert ['ms' in part for part in told] == [False, True]
  assert found.keys() - told[-1].keys() == {
    'program_gib',
    'compile_warm_seconds',
  }
  assert found['ms_low'] <= found['ms'] <= found['ms_high']
  assert found['clips_per_second'] == pytest.approx(2e3 / found['ms'])
  assert found['gflop'] > 0
  assert found['program_gib'] > 0


def test_the_other_sections_have_a_step_and_its_cost():
  expected = {'inference': 2, 'augmentation': 2, 'search': 4, 'meta': 16}
  for kind, clips in expected.items():
    request = {'kind': kind, 'size': 'debug', 'batch': 2, 'form': 'bfloat16'}
    request['supernet'] = {'num_nodes': 1, 'space': 'small'}
    step = accelerator_steps.STEPS[kind](request)
    assert step.clips == clips
    assert math.isfinite(step.gflop)
    assert (step.gflop > 0) == (kind != 'augmentation')


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
