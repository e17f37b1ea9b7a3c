"""What all launchers have in common."""

import pathlib
import subprocess
import sys

import pytest
from stand_ins import ROOT

SCRIPTS = sorted((ROOT / 'launch').glob('*.sh'))
RUN = ('--', '--config=search', '--workdir=gs://b/r')
TPU = ('--name=a', '--zone=z', '--accelerator=v', '--runtime=r')
POD = ('--name=a', '--image=i')


def test_shellcheck_finds_nothing():
  done = subprocess.run(
    [
      pathlib.Path(sys.executable).parent / 'shellcheck',
      *('--external-sources', '--exclude=SC1091', '--source-path=SCRIPTDIR'),
      *SCRIPTS,
      ROOT / '.ci/run',
    ],
    capture_output=True,
    text=True,
    cwd=ROOT,
  )
  assert done.stdout == ''
  assert done.returncode == 0


def test_every_script_stops_at_the_first_error():
  assert len(SCRIPTS) >= 7
  for path in (*SCRIPTS, ROOT / '.ci/run'):
    if path.name != 'common.sh':
      assert 'set -euo pipefail' in path.read_text().splitlines(), path


@pytest.mark.parametrize(
  'script', ['local.sh', 'tpu.sh', 'slurm.sh', 'kubernetes.sh']
)
def test_help_is_the_head_of_the_script(machine, script):
  done = machine.launch(script, '--help')
  assert done.returncode == 0
  assert f'bash launch/{script} ' in done.stdout
  assert '--dry-run' in done.stdout
  assert 'set -e' not in done.stdout


@pytest.mark.parametrize(
  ('command', 'message'),
  [
    (('local.sh', *RUN), "-n is ''; give the number of processes first"),
    (('local.sh', '-n', '0', *RUN), "-n is '0'"),
    (
      ('local.sh', '-n2', '--grace=x', *RUN),
      "--grace is 'x'; it must be a whole",
    ),
    (('local.sh', '-n2', '--', '--config=a'), '--workdir is missing after --'),
    (('local.sh', '-n2'), 'the arguments of the run are missing: -- --config='),
    (
      ('local.sh', '-n2', '--config=a'),
      '--config=a belongs to the run: put --',
    ),
    (
      ('local.sh', '-n2', '--prot=3', *RUN),
      'unknown option --prot; known: --port=',
    ),
    (('local.sh', '-n2', '--port', *RUN), '--port needs a value'),
    (('tpu.sh', '--zone=z', *RUN), '--name is missing'),
    (
      ('tpu.sh', '--name=A_b', '--zone=z', *RUN),
      "--name is 'A_b'; allowed: lower",
    ),
    (('tpu.sh', '--name=a', *RUN), '--zone is missing (or NASFAS_ZONE)'),
    (('tpu.sh', *TPU[:2], *RUN), '--accelerator is missing'),
    (('tpu.sh', *TPU[:3], *RUN), '--runtime is missing'),
    (('tpu.sh', *TPU, '--restarts=-1', *RUN), "--restarts is '-1'"),
    (
      ('tpu.sh', *TPU, '--spot', '--', '--config=a', '--workdir=w'),
      "--spot needs --workdir=gs://BUCKET/RUN, not 'w'",
    ),
    (('slurm.sh', *RUN), '--time is missing (such as 04:00:00)'),
    (('slurm.sh', '--time=soon', *RUN), "--time is 'soon'; allowed: minutes"),
    (('slurm.sh', '--time=9', '--name=a b', *RUN), "--name is 'a b'; allowed"),
    (
      ('kubernetes.sh', '--name=a', *RUN),
      '--image is missing (or NASFAS_IMAGE)',
    ),
    (('kubernetes.sh', '--name=a.b', '--image=i', *RUN), "--name is 'a.b'"),
    (('kubernetes.sh', *POD, '--namespace=a;b', *RUN), "--namespace is 'a;b'"),
    (
      ('kubernetes.sh', *POD, '--', '--config=a', '--workdir=/runs/x'),
      "--workdir is '/runs/x', which goes with the pod",
    ),
    (
      ('kubernetes.sh', *POD, '--select=a=b c', *RUN),
      "--select has 'b c'; allowed:",
    ),
    (('kubernetes.sh', *POD, '--memory=lots', *RUN), "--memory has 'lots'"),
    (('kubernetes.sh', *POD, '--image=a b', *RUN), "--image has 'a b'"),
  ],
)
def test_a_mistake_is_one_line_and_nothing_is_called(machine, command, message):
  done = machine.launch(*command)
  assert done.returncode in (1, 2)
  assert message in done.stderr
  (line,) = done.stderr.splitlines()
  assert line.startswith('error: ')
  assert machine.calls() == []


@pytest.mark.parametrize(
  ('script', 'args', 'tool'),
  [
    ('tpu.sh', TPU, 'gcloud'),
    ('slurm.sh', ('--time=9',), 'sbatch'),
    ('kubernetes.sh', POD, 'kubectl'),
  ],
)
def test_a_missing_tool_is_one_line(machine, script, args, tool):
  # A PATH with what scripts need, and no tool.
  for name in ('bash', 'dirname', 'basename', 'sed', 'mktemp', 'rm', 'python3'):
    (machine.cwd / name).symlink_to(
      sys.executable if name == 'python3' else f'/usr/bin/{name}'
    )
  done = machine.launch(script, *args, *RUN, PATH=str(machine.cwd))
  assert done.returncode == 2
  assert f"the program '{tool}' is not installed" in done.stderr
