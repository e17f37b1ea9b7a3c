import os
import subprocess
import sys

import pytest

from nasfas_jax.ops.cpu import huge_pages

linux = pytest.mark.skipif(sys.platform != 'linux', reason='a setting of glibc')


@linux
@pytest.mark.parametrize(
  ('given', 'expected'),
  [
    ('', 'glibc.malloc.hugetlb=1'),
    ('glibc.malloc.perturb=1', 'glibc.malloc.perturb=1:glibc.malloc.hugetlb=1'),
  ],
)
def test_the_setting_joins_those_of_the_user(given, expected):
  environ = {'GLIBC_TUNABLES': given}
  calls = []
  huge_pages.restart_with_huge_pages(environ, lambda *call: calls.append(call))
  assert environ == {'GLIBC_TUNABLES': expected}
  ((program, arguments),) = calls
  assert program == arguments[0] == sys.executable
  assert arguments[1:] == sys.orig_argv[1:]
  # The second start goes on.
  huge_pages.restart_with_huge_pages(environ, lambda *call: calls.append(call))
  assert len(calls) == 1


@linux
def test_a_choice_of_the_user_stays():
  environ = {'GLIBC_TUNABLES': 'glibc.malloc.hugetlb=0'}
  calls = []
  huge_pages.restart_with_huge_pages(environ, lambda *call: calls.append(call))
  assert environ == {'GLIBC_TUNABLES': 'glibc.malloc.hugetlb=0'}
  assert not calls


@linux
def test_a_program_starts_again_with_its_arguments(tmp_path):
  environ = {n: v for n, v in os.environ.items() if n != 'GLIBC_TUNABLES'}
  program = """
from nasfas_jax.ops.cpu import huge_pages
huge_pages.restart_with_huge_pages()
import os, sys
print(os.environ['GLIBC_TUNABLES'], sys.argv[1:])
"""
  path = tmp_path / 'program.py'
  path.write_text(program, encoding='utf-8')
  done = subprocess.run(
    [sys.executable, '-W', 'error', str(path), 'one', '--two=3 4'],
    env=environ,
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout.strip() == "glibc.malloc.hugetlb=1 ['one', '--two=3 4']"
