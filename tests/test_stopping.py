"""Ctrl-C before, in and after the work of a command."""

import signal

import pytest

from nasfas_configs import predict as predict_config
from nasfas_configs import search as search_config
from nasfas_jax import main, stopping


@pytest.fixture
def handler():
  """Sets the handler of Ctrl-C for one test; returns what is set."""
  before = signal.getsignal(signal.SIGINT)

  def choose(chosen):
    signal.signal(signal.SIGINT, chosen)
    return lambda: signal.getsignal(signal.SIGINT)

  yield choose
  signal.signal(signal.SIGINT, before)


def test_imports_end_without_a_traceback_and_the_work_with_a_line(handler):
  now = handler(signal.default_int_handler)
  stopping.quiet_imports()
  assert now() is signal.SIG_DFL
  with stopping.ending_at_once():
    assert now() is signal.default_int_handler


def test_a_command_in_the_background_still_ignores_it(handler):
  now = handler(signal.SIG_IGN)
  stopping.quiet_imports()
  with stopping.ending_at_once():
    assert now() is signal.SIG_IGN


def test_a_stopped_process_does_not_wait_for_the_compiler(monkeypatch):
  class Ended(Exception):
    pass

  def end(status):
    raise Ended(status)

  monkeypatch.setattr(stopping.os, '_exit', end)
  with pytest.raises(Ended, match='130'), stopping.ending_at_once():
    raise SystemExit(130)
  with pytest.raises(SystemExit, match='2'), stopping.ending_at_once():
    raise SystemExit(2)


def test_only_what_resumes_is_said_to_resume(tmp_path):
  again = 'The same command starts again.'
  search = search_config.get_config()
  assert main.going_on(search, tmp_path / 'nothing') == again
  assert 'resumes from the last checkpoint' in main.going_on(search, tmp_path)
  assert main.going_on(predict_config.get_config(), tmp_path) == again
