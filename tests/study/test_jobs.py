import json
import os
import signal
import subprocess
import sys
import time

import pytest

from nasfas_jax import files, run_config, settings
from nasfas_jax.study import jobs


def write_job(monkeypatch, source):
  """Replaces the main module's command by a Python source."""

  def command(self, folder):
    import sys

    return [sys.executable, '-c', source, str(folder / self.name)]

  monkeypatch.setattr(jobs.Job, 'command', command)


WRITE = (
  'import json, os, sys; '
  'path = os.path.join(sys.argv[1], "results.json"); '
  'json.dump({"cpus": sorted(os.sched_getaffinity(0))}, open(path, "w"))'
)


def test_what_is_finished_is_not_run_again(monkeypatch, tmp_path):
  write_job(monkeypatch, WRITE)
  listed = [jobs.Job(f'job{i}', (f'--config.seed={i}',)) for i in range(3)]
  found = jobs.run(listed, tmp_path)
  assert sorted(found) == ['job0', 'job1', 'job2']
  write_job(monkeypatch, 'raise SystemExit("run again")')
  assert jobs.run(listed, tmp_path) == found


@pytest.mark.parametrize('config', ['train', 'search:domain'])
def test_a_finished_run_of_other_defaults_is_refused(config, tmp_path):
  arguments = (f'--config={config}', '--config.train.num_steps=7')
  job = jobs.Job('one', arguments, (('config.genotype', 'g.json'),))
  default = run_config.by_name(config)
  # As a run writes it.
  content = settings.settle_dtype(default, tmp_path / 'one').to_dict()
  assert content['dtype'] != default.dtype
  # A genotype of the wide space may have chosen it.
  content['input']['fusion'] = 'static'
  # What the arguments set, and what only makes a run faster, may be anything.
  content['train']['num_steps'] = 7
  content['genotype'] = str(tmp_path / 'g.json')
  content['data'] |= {'data_dir': 'there', 'num_workers': 3}
  files.write_json(tmp_path / 'one' / 'config.json', content)
  files.write_json(tmp_path / 'one' / 'results.json', {})
  assert jobs.is_finished(job, tmp_path)
  # An older run lacks a field: it had what is now the default.
  del content['augmentation']['gamma']
  files.write_json(tmp_path / 'one' / 'config.json', content)
  assert jobs.is_finished(job, tmp_path)
  shift = content['augmentation']['shift']
  content['augmentation']['shift'] = shift + 0.25
  files.write_json(tmp_path / 'one' / 'config.json', content)
  message = (
    rf'one. holds a run of other defaults \(config.augmentation.shift: '
    rf'{shift + 0.25} there, {shift} now\)'
  )
  with pytest.raises(ValueError, match=message):
    jobs.is_finished(job, tmp_path)


def test_a_failure_leaves_the_others_finished(monkeypatch, tmp_path):
  write_job(
    monkeypatch,
    'import sys; sys.exit("no such thing") if "job1" in sys.argv[1] else '
    f'exec({WRITE!r})',
  )
  listed = [jobs.Job(f'job{i}', ()) for i in range(3)]
  with pytest.raises(ChildProcessError, match='1 of 3 .* job1: no such thing'):
    jobs.run(listed, tmp_path, num_workers=2)
  assert (tmp_path / 'job2' / 'results.json').exists()
  assert not (tmp_path / 'job1' / 'results.json').exists()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_the_runs_and_begins_no_other(number, tmp_path):
  source = """
import pathlib, signal, sys, time
from nasfas_jax.study import jobs
# A shell without job control starts what is in the background, perhaps these
# tests, with Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
WAIT = (
  'import pathlib, sys, time; folder = pathlib.Path(sys.argv[1]); '
  '(folder / "begun").touch(); time.sleep(60); (folder / "done").touch()'
)
jobs.Job.command = lambda self, folder: [
  sys.executable, '-c', WAIT, str(folder / self.name)
]
listed = [jobs.Job(f'job{i}', ()) for i in range(4)]
jobs.run(listed, pathlib.Path(sys.argv[1]), num_workers=2)
"""
  parent = subprocess.Popen(
    [sys.executable, '-c', source, str(tmp_path)], stderr=subprocess.DEVNULL
  )
  for _ in range(600):
    if len(list(tmp_path.glob('*/begun'))) == 2:
      break
    time.sleep(0.1)
  try:
    # Of the parent alone: as by `kill`, or by a service that ends.
    parent.send_signal(number)
    assert parent.wait(timeout=30) != 0
  finally:
    parent.kill()
    parent.wait()
  assert len(list(tmp_path.glob('*/begun'))) == 2
  assert not list(tmp_path.glob('*/done'))


def test_a_folder_of_another_job_is_refused(monkeypatch, tmp_path):
  write_job(monkeypatch, WRITE)
  jobs.run([jobs.Job('job', ('--config.seed=1',))], tmp_path)
  with pytest.raises(ValueError, match='other arguments.*seed=1.*seed=2'):
    jobs.run([jobs.Job('job', ('--config.seed=2',))], tmp_path)


@pytest.mark.skipif(
  not hasattr(os, 'sched_getaffinity'), reason='no CPU affinity here'
)
def test_workers_share_the_cpus_out(monkeypatch, tmp_path):
  cpus = os.sched_getaffinity(0)
  shares = jobs.cpu_shares(2)
  assert set().union(*shares) == cpus
  if len(cpus) > 1:
    assert not set(shares[0]) & set(shares[1])
  write_job(monkeypatch, WRITE)
  found = jobs.run([jobs.Job('job', ())], tmp_path, num_workers=2)
  assert found['job']['cpus'] in shares
  assert len(jobs.cpu_shares(len(cpus) + 1)) == len(cpus) + 1
  with pytest.raises(ValueError, match='num_workers is 0'):
    jobs.cpu_shares(0)


def test_the_arguments_are_kept(monkeypatch, tmp_path):
  write_job(monkeypatch, WRITE)
  jobs.run([jobs.Job('job', ('--config.seed=1',))], tmp_path)
  path = tmp_path / 'job' / jobs.ARGUMENTS_FILE
  assert json.loads(path.read_text()) == ['--config.seed=1']


def training(name, seed, *flags, inputs=()):
  flags = ('--config=train', *flags, f'--config.seed={seed}')
  return jobs.Job(f'{name}/seed{seed}', flags, inputs)


def test_trainings_that_differ_in_their_seed_are_one():
  genotype = (('config.genotype', 'g0.json'),)
  listed = [
    training('g0', 3, '--config.x=1', inputs=genotype),
    training('g1', 0),
    training('g0', 4, '--config.x=1', inputs=genotype),
  ]
  first, second = jobs.side_by_side(listed)
  assert first.parts == (listed[0], listed[2])
  assert first.job == jobs.Job(
    'g0',
    (
      *('--config=train', '--config.x=1', '--config.seed=3'),
      '--config.train.num_seeds=2',
    ),
    genotype,
  )
  # One seed is a run of its own.
  assert second == (listed[1], (listed[1],))


@pytest.mark.parametrize(
  'listed',
  [
    # Not consecutive; other settings; a search; other things beside them.
    [training('a', 0), training('a', 2)],
    [training('a', 0, '--config.x=1'), training('a', 1, '--config.x=2')],
    [
      jobs.Job(f'a/seed{i}', ('--config=search:plain', f'--config.seed={i}'))
      for i in range(2)
    ],
    [training('a', 0), training('a', 1), jobs.Job('a/trial0', ())],
    [training('a', i) for i in range(65)],
    # Seeds that are no argument, and names without a folder.
    [jobs.Job(f'a/seed{i}', ('--config=train',)) for i in range(2)],
    [jobs.Job(f'seed{i}', (f'--config.seed={i}',)) for i in range(2)],
  ],
)
def test_what_is_no_training_from_consecutive_seeds_is_left_apart(listed):
  assert [one.parts for one in jobs.side_by_side(listed)] == [
    (job,) for job in listed
  ]


# Writes the results of each seed of a training, as many_seeds does.
WRITE_SEEDS = """
import json, os, sys
workdir, *arguments = sys.argv[1:]
values = dict(a.removeprefix('--config.').split('=') for a in arguments[1:])
first, number = int(values['seed']), int(values.get('train.num_seeds', 1))
seeds = range(first, first + number)
for seed in seeds:
  folder = os.path.join(workdir, f'seed{seed}') if len(seeds) > 1 else workdir
  os.makedirs(folder, exist_ok=True)
  with open(os.path.join(folder, 'results.json'), 'w') as file:
    json.dump({'of': len(seeds)}, file)
with open(os.path.join(workdir, 'config.json'), 'w') as file:
  json.dump({'seed': first, 'train': {'num_seeds': number}}, file)
"""


def test_seeds_run_together_once_and_alone_where_some_are_there(
  monkeypatch, tmp_path
):
  def command(self, folder):
    workdir = str(folder / self.name)
    return [sys.executable, '-c', WRITE_SEEDS, workdir, *self.arguments]

  monkeypatch.setattr(jobs.Job, 'command', command)
  listed = [training('a', i) for i in range(3)]
  found = jobs.run(listed, tmp_path, together=True)
  assert found == {f'a/seed{i}': {'of': 3} for i in range(3)}
  for job in listed:
    kept = tmp_path / job.name / jobs.ARGUMENTS_FILE
    assert json.loads(kept.read_text()) == list(job.arguments)
  (tmp_path / 'a' / 'seed1' / 'results.json').unlink()
  found = jobs.run(listed, tmp_path, together=True)
  assert [of['of'] for of in found.values()] == [3, 1, 3]
  # Their folder is taken for seeds that are asked for later.
  later = [training('a', i) for i in range(3, 5)]
  found = jobs.run(later, tmp_path, together=True)
  assert [of['of'] for of in found.values()] == [1, 1]
  # A stopped training of these very seeds goes on as it was begun.
  for job in later:
    (tmp_path / job.name / 'results.json').unlink()
  files.write_json(
    tmp_path / 'a' / 'config.json', {'seed': 3, 'train': {'num_seeds': 2}}
  )
  found = jobs.run(later, tmp_path, together=True)
  assert [of['of'] for of in found.values()] == [2, 2]
  apart = jobs.run(listed, tmp_path / 'apart')
  assert [of['of'] for of in apart.values()] == [1, 1, 1]
