"""Headless Chromium for tests, by the DevTools protocol over two pipes.

Needs nothing but the browser: no driver and no package.
"""

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time

PATH = shutil.which('chromium') or shutil.which('chromium-browser')
_SWITCHES = (
  '--headless=new',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-dev-shm-usage',
  '--disable-gpu',
  '--disable-sync',
  '--hide-scrollbars',
  '--no-first-run',
  # As root, in a container, Chromium does not start with it.
  '--no-sandbox',
  # A camera that shows a moving picture, and a user who allows it.
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
)
# The protocol's pipes are those with the numbers 3 and 4.
_START = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3]]
os.dup2(pipes[0], 3)
os.dup2(pipes[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Page:
  """A page of a browser.

  Attributes:
    requests: the addresses that it asked for.
    errors: what it wrote to its console as errors.
  """

  def __init__(self, to_browser: int, from_browser: int):
    self._out, self._in = to_browser, from_browser
    self._rest = b''
    self._numbers = itertools.count(1)
    self._session = None
    self.requests, self.errors = [], []
    target = self.call('Target.createTarget', url='about:blank')['targetId']
    self._session = self.call(
      'Target.attachToTarget', targetId=target, flatten=True
    )['sessionId']
    for domain in ('Page', 'Network', 'Runtime', 'DOM'):
      self.call(f'{domain}.enable')

  def call(self, method: str, **params):
    """Sends a command of the protocol; returns its result."""
    number = next(self._numbers)
    message = {'id': number, 'method': method, 'params': params}
    if self._session:
      message['sessionId'] = self._session
    os.write(self._out, json.dumps(message).encode() + b'\0')
    while True:
      answer = self._read(30)
      if answer.get('id') == number:
        if 'error' in answer:
          raise RuntimeError(f'{method}: {answer["error"]["message"]}')
        return answer['result']

  def _read(self, seconds: float) -> dict:
    """The next message; notes requests and errors."""
    while b'\0' not in self._rest:
      if not select.select([self._in], [], [], seconds)[0]:
        raise TimeoutError('Chromium does not answer.')
      data = os.read(self._in, 1 << 20)
      if not data:
        raise RuntimeError('Chromium has ended.')
      self._rest += data
    line, _, self._rest = self._rest.partition(b'\0')
    message = json.loads(line)
    params = message.get('params', {})
    if message.get('method') == 'Network.requestWillBeSent':
      self.requests.append(params['request']['url'])
    if message.get('method') == 'Runtime.exceptionThrown':
      self.errors.append(params['exceptionDetails']['text'])
    return message

  def run(self, script: str):
    """The value of a JavaScript expression."""
    found = self.call(
      'Runtime.evaluate',
      expression=script,
      returnByValue=True,
      awaitPromise=True,
    )
    if 'exceptionDetails' in found:
      raise RuntimeError(str(found['exceptionDetails']))
    return found['result'].get('value')

  def wait(self, script: str, seconds: float = 30.0) -> None:
    """Waits until a JavaScript expression is true.

    Raises:
      TimeoutError: if it stays false.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
      with contextlib.suppress(RuntimeError):
        if self.run(f'Boolean({script})'):
          return
      time.sleep(0.1)
    raise TimeoutError(f'Still false after {seconds} s: {script}')

  def resize(self, width: int, height: int) -> None:
    self.call(
      'Emulation.setDeviceMetricsOverride',
      width=width,
      height=height,
      deviceScaleFactor=1,
      mobile=width < 500,
    )

  def drop(self, selector: str, path) -> None:
    """Gives a file to the first file input that a selector finds."""
    self.wait(f'document.querySelector({json.dumps(selector)})')
    root = self.call('DOM.getDocument')['root']['nodeId']
    node = self.call('DOM.querySelector', nodeId=root, selector=selector)
    self.call('DOM.setFileInputFiles', files=[str(path)], nodeId=node['nodeId'])

  def screenshot(self, path) -> None:
    """Writes the whole page as a PNG file."""
    data = self.call('Page.captureScreenshot', captureBeyondViewport=True)
    with open(path, 'wb') as file:
      file.write(base64.b64decode(data['data']))


@contextlib.contextmanager
def opened(profile):
  """Starts a browser and yields a page of it.

  Args:
    profile: an empty folder for what the browser keeps.
  """
  browser_in, to_browser = os.pipe()
  from_browser, browser_out = os.pipe()
  process = subprocess.Popen(
    [
      *(sys.executable, '-c', _START, str(browser_in), str(browser_out)),
      *(PATH, *_SWITCHES, f'--user-data-dir={profile}'),
      '--remote-debugging-pipe',
    ],
    pass_fds=(browser_in, browser_out),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  os.close(browser_in)
  os.close(browser_out)
  try:
    yield Page(to_browser, from_browser)
  finally:
    # Chromium ends with its pipe.
    os.close(to_browser)
    try:
      process.wait(10)
    except subprocess.TimeoutExpired:
      process.kill()
      process.wait()
    os.close(from_browser)
