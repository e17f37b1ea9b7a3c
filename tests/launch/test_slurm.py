"""launch/slurm.sh and the batch script that it submits."""

import json
import subprocess

from stand_ins import NASTY, ROOT

RUN = ('--config=search:paper', '--workdir=/shared/run')

# A task: ends with the status that the plan has for its number.
PYTHON = """
import json, os, pathlib, sys
fake = pathlib.Path(os.environ['FAKE'])
with open(fake / 'tasks', 'a') as file:
  file.write(json.dumps(sys.argv[1:]) + '\\n')
plan = json.loads((fake / 'plan').read_text())
sys.exit(plan[int(os.environ['SLURM_PROCID'])])
"""


def test_the_job_is_submitted_with_its_arguments(machine):
  done = machine.launch(
    'slurm.sh',
    *('--time=04:00:00', '--nodes=2', '--gpus-per-node=4', '--account=me'),
    *('--mem=64G', '--name=my-run', '--', *RUN, f'--config.note={NASTY}'),
    PYTHON='/env with space/python',
    NASFAS_PARTITION='gpu',
  )
  assert done.returncode == 0, done.stderr
  assert machine.calls() == [
    [
      *('sbatch', '--job-name=my-run', '--time=04:00:00', '--nodes=2'),
      *('--ntasks-per-node=4', '--cpus-per-task=8'),
      *('--output=slurm-my-run-%j.log', '--open-mode=append', '--requeue'),
      *('--signal=TERM@120', '--gpus-per-node=4', '--mem=64G'),
      *('--partition=gpu', '--account=me', f'{ROOT}/launch/slurm_job.sh'),
      *('/env with space/python', '100', '75', *RUN, f'--config.note={NASTY}'),
    ]
  ]


def test_a_refused_job_is_one_line(machine):
  machine.write(refused='--time')
  done = machine.launch('slurm.sh', '--time=9', '--', *RUN)
  assert done.returncode == 2
  assert 'error: sbatch refused the job' in done.stderr


def test_a_dry_run_prints_the_command(machine):
  done = machine.launch('slurm.sh', '--time=9', '--dry-run', '--', *RUN)
  assert done.returncode == 0
  assert machine.calls() == []
  assert done.stderr.startswith('+ sbatch --job-name=nasfas --time=9 ')


def job(machine, plan, *, turn=0, restarts=3):
  """Runs the batch script as Slurm does; gives its status."""
  machine.write(plan=json.dumps(plan))
  python = machine.script(machine.bin / 'py', PYTHON)
  script = ROOT / 'launch/slurm_job.sh'
  return subprocess.run(
    ['bash', script, python, str(restarts), '75', *RUN, NASTY],
    env={
      **machine.env,
      'SLURM_JOB_ID': '12',
      'SLURM_RESTART_COUNT': str(turn),
      'SLURM_CPUS_PER_TASK': '8',
    },
    stderr=subprocess.DEVNULL,
  ).returncode


def test_the_tasks_get_the_arguments(machine):
  assert job(machine, [0, 0]) == 0
  tasks = (machine.fake / 'tasks').read_text().splitlines()
  assert (
    list(map(json.loads, tasks)) == [['-m', 'nasfas_jax.main', *RUN, NASTY]] * 2
  )
  assert machine.named('scontrol') == []
  # srun does not take it from the job by itself.
  assert (machine.fake / 'cpus').read_text() == '8'


def test_a_stopped_job_goes_back_into_the_queue(machine):
  assert job(machine, [75, 75]) == 75
  assert machine.named('scontrol') == [['scontrol', 'requeue', '12']]


def test_the_last_turn_does_not(machine):
  assert job(machine, [75, 75], turn=3) == 75
  assert machine.named('scontrol') == []


def test_a_failure_is_not_hidden_by_the_stop_of_the_others(machine):
  assert job(machine, [75, 2]) == 102
  assert machine.named('scontrol') == []


def test_a_job_that_slurm_requeued_itself_ends_as_it_would(machine):
  machine.write(refused='requeue 12')
  assert job(machine, [75, 0]) == 75
