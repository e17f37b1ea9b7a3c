"""A machine with fake tools on its PATH."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable

ROOT = pathlib.Path(__file__).parents[2]
# Starts a script. What a shell starts in the background ignores Ctrl-C, and
# bash then cannot heed it.
_AS_OF_A_TERMINAL = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp('bash', ['bash', *sys.argv[1:]])
"""
# What a shell would split, expand or run.
NASTY = 'a b  \'c\' "d" $HOME `false` \\ * ; & | ~ # é $(false)'


class Machine:
  """Runs launchers; `fake` is the folder of fake_tool.py."""

  def __init__(self, folder: pathlib.Path):
    self.begun = []
    self.fake = folder / 'fake'
    self.bin = folder / 'bin'
    self.cwd = folder / 'cwd'
    self.home = self.fake / 'home'
    for path in (self.fake, self.bin, self.cwd, self.home):
      path.mkdir()
    self.env = {
      'PATH': f'{self.bin}:{os.environ["PATH"]}',
      'HOME': str(self.home),
      'FAKE': str(self.fake),
      # Nothing of it may be shown or passed on.
      'GOOGLE_OAUTH_ACCESS_TOKEN': 'hunter2',
    }
    tool = (ROOT / 'tests/launch/fake_tool.py').read_text()
    for name in ('gcloud', 'sbatch', 'srun', 'scontrol', 'kubectl'):
      self.script(self.bin / name, tool)

  def script(self, path: pathlib.Path, text: str) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!{sys.executable} -IS\n{text}')
    path.chmod(0o755)
    return path

  def write(self, **files: str) -> None:
    for name, text in files.items():
      (self.fake / name).write_text(text)

  def launch(self, script: str, *args: str, timeout: float = 300, **env: str):
    done = subprocess.run(
      ['bash', str(ROOT / 'launch' / script), *args],
      cwd=self.cwd,
      env={**self.env, **env},
      capture_output=True,
      text=True,
      timeout=timeout,
    )
    assert 'hunter2' not in done.stdout + done.stderr
    return done

  def begin(self, script: str, *args: str) -> subprocess.Popen:
    """Starts a launcher in a process group of its own, which `end` ends."""
    process = subprocess.Popen(
      [
        *(sys.executable, '-IS', '-c', _AS_OF_A_TERMINAL),
        *(str(ROOT / 'launch' / script), *args),
      ],
      cwd=self.cwd,
      env=self.env,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      start_new_session=True,
    )
    self.begun.append(process)
    return process

  def end(self) -> None:
    """Kills what `begin` has started and a failed test has left."""
    for process in self.begun:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
      process.wait()

  def until(
    self, condition: Callable[[], object], seconds: float = 120
  ) -> None:
    """Waits until a condition holds, at most two minutes."""
    deadline = time.monotonic() + 120
    while not condition():
      assert time.monotonic() < deadline, self.calls()
      time.sleep(0.1)

  def calls(self) -> list[list[str]]:
    path = self.fake / 'calls'
    text = path.read_text() if path.exists() else ''
    return [call.split('\0')[:-1] for call in text.split('\n\0')[:-1]]

  def named(self, text: str) -> list[list[str]]:
    return [call for call in self.calls() if text in ' '.join(call)]
