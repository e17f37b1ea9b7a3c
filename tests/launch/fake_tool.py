"""Stands for gcloud, sbatch, srun, scontrol and kubectl in tests of launchers.

The folder FAKE holds what it answers and what it was asked:

  calls     the calls: program and arguments, each with a NUL at its end; a
            newline and a NUL end a call
  input     what kubectl read
  refused   lines 'TEXT': a call that holds TEXT fails
  slow      'TEXT': a call that holds TEXT takes two seconds
  states    a line for each answer of describe; the last is repeated. Without
            the file there is no such resource
  created   what `states` becomes when the resource is created: a line for each
            creation, with spaces for its ends of lines; the last is repeated
  home      the machine that ssh and scp reach

srun runs its command as two tasks, one after the other. No module is used that
is slow to import: a test makes ten calls.
"""

import os
import sys
import time

FAKE = os.environ['FAKE'] + '/'


def read(name):
  with open(FAKE + name) as file:
    return file.read()


def write(name, text):
  with open(FAKE + name, 'w') as file:
    file.write(text)


def first_line(name):
  line, _, rest = read(name).partition('\n')
  if rest.strip():
    write(name, rest)
  return line


def spawn(command, env):
  pid = os.posix_spawnp(command[0], command, env)
  return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def gcloud(args):
  words = ' '.join(args)
  if 'queued-resources describe' in words:
    if not os.path.exists(FAKE + 'states'):
      print('ERROR: NOT_FOUND: there is none', file=sys.stderr)
      return 1
    print(first_line('states'))
  elif 'queued-resources create' in words:
    write('states', first_line('created').replace(' ', '\n'))
  elif 'queued-resources delete' in words:
    if os.path.exists(FAKE + 'states'):
      os.remove(FAKE + 'states')
  elif 'tpu-vm ssh' in words:
    command = [a for a in args if a.startswith('--command=')][0]
    os.chdir(FAKE + 'home')
    # A login there: sh, with none of our variables.
    return spawn(
      ['sh', '-c', command[len('--command=') :]],
      {'HOME': FAKE + 'home', 'PATH': '/usr/bin:/bin', 'FAKE': FAKE},
    )
  elif 'tpu-vm scp' in words:
    paths = [a for a in args[4:] if not a.startswith('--')]
    paths = [
      FAKE + 'home/' + a.split(':', 1)[1] if ':' in a else a for a in paths
    ]
    return spawn(['cp', '-r', *paths], os.environ)
  return 0


def main():
  program, args = os.path.basename(sys.argv[0]), sys.argv[1:]
  with open(FAKE + 'calls', 'a') as file:
    file.write(''.join(f'{word}\0' for word in (program, *args)) + '\n\0')
  if os.path.exists(FAKE + 'refused') and any(
    text in ' '.join(args) for text in read('refused').splitlines()
  ):
    print('ERROR: refused', file=sys.stderr)
    return 1
  if os.path.exists(FAKE + 'slow') and read('slow') in ' '.join(args):
    time.sleep(2)
  if program == 'gcloud':
    return gcloud(args)
  if program == 'kubectl':
    write('input', sys.stdin.read())
  if program == 'srun':
    write('cpus', os.environ.get('SRUN_CPUS_PER_TASK', ''))
    while args[0].startswith('-'):
      args.pop(0)
    return max(
      spawn(args, {**os.environ, 'SLURM_PROCID': str(i)}) for i in range(2)
    )
  return 0


if __name__ == '__main__':
  sys.exit(main())
