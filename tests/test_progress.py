import subprocess
import sys

import pytest

from nasfas_jax import progress


def test_without_a_terminal_the_bar_is_plain_lines(capsys):
  with progress.bar('Working', 10, initial=2) as bar:
    bar.update(3, loss=0.5)
    bar.update(10, loss=0.25)
  # By line feeds only: a bar that moves ends its lines with carriage returns.
  first, last, end = capsys.readouterr().err.split('\n')
  assert first == 'Working: 2/10'
  assert last == 'Working: 10/10, 0 s, loss 0.25'
  assert end == ''


def test_a_stage_tells_its_time(capsys):
  with progress.stage('Compiling'):
    pass
  err = capsys.readouterr().err
  assert err == 'Compiling ...\nCompiling: 0.0 s\n'


def test_a_failed_stage_does_not_claim_to_be_done(capsys):
  with pytest.raises(KeyError), progress.stage('Compiling'):
    raise KeyError('x')
  assert capsys.readouterr().err == 'Compiling ...\n'


def test_an_answer_is_all_that_goes_to_stdout(capsys):
  progress.say('Reading.')
  progress.answer('one\ntwo')
  assert capsys.readouterr() == ('one\ntwo\n', 'Reading.\n')


def test_a_reader_that_has_seen_enough_is_no_error():
  program = (
    'from nasfas_jax import progress\n'
    'with progress.reader_may_leave():\n'
    '  while True:\n'
    "    progress.answer('x' * 1000)\n"
    "progress.say('after it')\n"
  )
  with subprocess.Popen(
    [sys.executable, '-c', program],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  ) as process:
    assert process.stdout.readline() == 'x' * 1000 + '\n'
    process.stdout.close()
    assert process.stderr.read() == 'after it\n'
  assert process.returncode == 0
