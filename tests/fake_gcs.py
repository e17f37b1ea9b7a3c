"""A stand-in for Google Cloud Storage: its JSON interface, in memory.

Enough of it for gcsfs and for TensorStore's driver gcs: read (with ranges and
generations), list, write (in one request, in parts and resumable), copy, delete
and batches of deletes.
"""

import base64
import contextlib
import email.parser
import hashlib
import http.server
import json
import re
import sys
import threading
import urllib.parse
from collections.abc import Iterator

from nasfas_jax import remote


class Server(http.server.ThreadingHTTPServer):
  """Holds `objects`: 'BUCKET/NAME' -> bytes. Fails what `refuse` says."""

  daemon_threads = True

  def __init__(self):
    self.objects: dict[str, bytes] = {}
    self.generations: dict[str, int] = {}
    self.uploads: dict[str, list] = {}
    self.count = 0
    # (method, name) -> whether to answer 403.
    self.refuse = lambda method, name: False
    self.lock = threading.RLock()
    super().__init__(('127.0.0.1', 0), _Handler)
    self.url = f'http://127.0.0.1:{self.server_address[1]}'

  def handle_error(self, request, client_address):
    # A client that no longer waits.
    if not isinstance(sys.exception(), ConnectionError):
      super().handle_error(request, client_address)

  def put(self, key: str, data: bytes) -> dict:
    with self.lock:
      self.count += 1
      self.objects[key] = data
      self.generations[key] = self.count
      return self.describe(key)

  def describe(self, key: str) -> dict:
    bucket, _, name = key.partition('/')
    data = self.objects[key]
    return {
      'kind': 'storage#object',
      'id': key,
      'bucket': bucket,
      'name': name,
      'size': str(len(data)),
      'generation': str(self.generations[key]),
      'metageneration': '1',
      'etag': str(self.generations[key]),
      'md5Hash': base64.b64encode(hashlib.md5(data).digest()).decode(),
      'timeCreated': '2026-01-01T00:00:00.000Z',
      'updated': '2026-01-01T00:00:00.000Z',
      'contentType': 'application/octet-stream',
    }


@contextlib.contextmanager
def taken_for_the_real_one(monkeypatch, copies) -> Iterator[Server]:
  """A server that gcsfs and TensorStore ask, for the length of a test.

  Args:
    monkeypatch: of pytest.
    copies: folder for the copies of datasets.
  """
  import fsspec
  import gcsfs
  from etils.epath import backend

  with serving() as server:
    monkeypatch.setenv('STORAGE_EMULATOR_HOST', server.url)
    monkeypatch.setenv('TENSORSTORE_GCS_HTTP_URL', server.url)
    monkeypatch.setenv('GOOGLE_AUTH_TOKEN_FOR_TESTING', 'none')
    monkeypatch.setenv('NASFAS_DATA_COPIES', str(copies))
    for name in ('gs', 'gcs'):
      # Without the question to Google of what kind the bucket is.
      fsspec.register_implementation(
        name, gcsfs.core.GCSFileSystem, clobber=True
      )
      monkeypatch.setitem(fsspec.config.conf, name, {'token': 'anon'})
    elsewhere(monkeypatch)
    yield server
    # The next server has another address.
    gcsfs.core.GCSFileSystem.clear_instance_cache()
    type(backend.fsspec_backend)._get_filesystem.cache_clear()


def elsewhere(monkeypatch) -> None:
  """From here on as another process, which has no mirror of a run."""
  monkeypatch.setattr(remote, '_mirrors', {})


@contextlib.contextmanager
def serving() -> Iterator[Server]:
  """A server that answers until the end."""
  server = Server()
  thread = threading.Thread(target=server.serve_forever, args=(0.02,))
  thread.start()
  try:
    yield server
  finally:
    server.shutdown()
    server.server_close()
    thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = 'HTTP/1.1'
  # An answer in one packet; in two, each waits 40 ms.
  wbufsize = -1
  disable_nagle_algorithm = True

  def log_message(self, *unused):
    pass

  def answer(self, status: int, body: bytes | dict = b'', **headers: str):
    if isinstance(body, dict):
      body = json.dumps(body).encode()
      headers.setdefault('Content_Type', 'application/json')
    self.send_response(status)
    for name, value in headers.items():
      self.send_header(name.replace('_', '-'), value)
    self.send_header('Content-Length', str(len(body)))
    self.end_headers()
    if self.command != 'HEAD':
      self.wfile.write(body)

  def missing(self):
    self.answer(404, {'error': {'code': 404, 'message': 'Not Found'}})

  def handle_any(self):
    length = int(self.headers.get('Content-Length') or 0)
    body = self.rfile.read(length)
    url = urllib.parse.urlsplit(self.path)
    query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
    path = url.path
    server = self.server
    if path == '/batch/storage/v1':
      return self.batch(body)
    match = re.fullmatch(
      r'(/upload|/download)?/storage/v1/b/([^/]+)(?:/o(?:/(.+))?)?', path
    )
    if not match:
      return self.missing()
    kind, bucket, rest = match[1] or '', match[2], match[3]
    name = urllib.parse.unquote(rest) if rest else query.get('name', '')
    if server.refuse(self.command, f'{bucket}/{name}'):
      message = {'error': {'code': 403, 'message': 'Forbidden'}}
      return self.answer(403, message)
    with server.lock:
      if kind == '/upload':
        return self.upload(bucket, query, body)
      if not path.partition('/b/')[2].partition('/o')[1]:
        return self.answer(200, {'kind': 'storage#bucket', 'name': bucket})
      if not rest:
        return self.list(bucket, query)
      if '/moveTo/o/' in path:
        source, target = map(urllib.parse.unquote, rest.split('/moveTo/o/'))
        return self.copy(f'{bucket}/{source}', f'{bucket}/{target}', move=True)
      if '/rewriteTo/' in path or '/copyTo/' in path:
        source, target = re.split(r'/(?:rewriteTo|copyTo)/b/', rest)
        to_bucket, _, to_name = target.partition('/o/')
        return self.copy(
          f'{bucket}/{urllib.parse.unquote(source)}',
          f'{to_bucket}/{urllib.parse.unquote(to_name)}',
        )
      return self.object(f'{bucket}/{name}', query)

  do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = handle_any

  def object(self, key: str, query: dict):
    server = self.server
    if key not in server.objects:
      return self.missing()
    generation = str(server.generations[key])
    if query.get('ifGenerationNotMatch') == generation:
      return self.answer(304)
    if query.get('ifGenerationMatch', generation) != generation:
      return self.answer(412, {'error': {'code': 412}})
    if self.command == 'DELETE':
      del server.objects[key]
      return self.answer(204)
    if query.get('alt') != 'media':
      return self.answer(200, server.describe(key))
    data = server.objects[key]
    headers = {'X_Goog_Generation': generation, 'ETag': generation}
    wanted = re.fullmatch(r'bytes=(\d*)-(\d*)', self.headers.get('Range', ''))
    if not wanted:
      return self.answer(200, data, **headers)
    start = int(wanted[1]) if wanted[1] else max(len(data) - int(wanted[2]), 0)
    stop = int(wanted[2]) + 1 if wanted[1] and wanted[2] else len(data)
    stop = min(stop, len(data))
    if start >= len(data):
      return self.answer(416)
    headers['Content_Range'] = f'bytes {start}-{stop - 1}/{len(data)}'
    return self.answer(206, data[start:stop], **headers)

  def list(self, bucket: str, query: dict):
    server = self.server
    prefix, delimiter = query.get('prefix', ''), query.get('delimiter', '')
    items, prefixes = [], set()
    for key in sorted(server.objects):
      if not key.startswith(f'{bucket}/{prefix}'):
        continue
      name = key.partition('/')[2]
      rest = name[len(prefix) :]
      if delimiter and delimiter in rest:
        prefixes.add(prefix + rest.partition(delimiter)[0] + delimiter)
      elif name >= query.get('startOffset', ''):
        items.append(server.describe(key))
    if query.get('maxResults'):
      items = items[: int(query['maxResults'])]
    content = {'kind': 'storage#objects'}
    if items:
      content['items'] = items
    if prefixes:
      content['prefixes'] = sorted(prefixes)
    self.answer(200, content)

  def upload(self, bucket: str, query: dict, body: bytes):
    server = self.server
    if 'upload_id' in query:
      key, parts = server.uploads[query['upload_id']]
      parts.append(body)
      size = self.headers.get('Content-Range', '*/*').rpartition('/')[2]
      done = sum(map(len, parts))
      if size == '*' or int(size) != done:
        return self.answer(308, Range=f'bytes=0-{done - 1}')
      return self.answer(200, server.put(key, b''.join(parts)))
    if query['uploadType'] == 'resumable':
      name = query.get('name') or json.loads(body)['name']
      server.count += 1
      place = str(server.count)
      server.uploads[place] = [f'{bucket}/{name}', []]
      location = (
        f'{server.url}/upload/storage/v1/b/{bucket}/o?uploadType=resumable'
        f'&upload_id={place}'
      )
      return self.answer(200, Location=location)
    if query['uploadType'] == 'multipart':
      (about, _), (data, _) = _parts(self.headers['Content-Type'], body)
      return self.answer(
        200, server.put(f'{bucket}/{json.loads(about)["name"]}', data)
      )
    key = f'{bucket}/{query["name"]}'
    generation = str(server.generations[key]) if key in server.objects else '0'
    if query.get('ifGenerationMatch', generation) != generation:
      return self.answer(412, {'error': {'code': 412}})
    self.answer(200, server.put(key, body))

  def copy(self, source: str, target: str, move: bool = False):
    if source not in self.server.objects:
      return self.missing()
    about = self.server.put(target, self.server.objects[source])
    if move:
      del self.server.objects[source]
    self.answer(200, {'done': True, 'resource': about, **about})

  def batch(self, body: bytes):
    answers = []
    for content, headers in _parts(self.headers['Content-Type'], body):
      line = content.decode().lstrip().splitlines()[0]
      path = urllib.parse.urlsplit(line.split()[1]).path
      match = re.fullmatch(r'.*/b/([^/]+)/o/(.+)', path)
      key = f'{match[1]}/{urllib.parse.unquote(match[2])}'
      with self.server.lock:
        found = self.server.objects.pop(key, None) is not None
      place = headers.get('Content-ID', '<0>').strip('<>')
      status = '204 No Content' if found else '404 Not Found'
      answers.append(
        f'--answer\r\nContent-Type: application/http\r\n'
        f'Content-ID: <response-{place}>\r\n\r\nHTTP/1.1 {status}\r\n\r\n\r\n'
      )
    text = ''.join(answers) + '--answer--\r\n'
    self.answer(
      200, text.encode(), Content_Type='multipart/mixed; boundary=answer'
    )


def _parts(kind: str, body: bytes) -> list[tuple[bytes, dict]]:
  """The parts of a body of several: (content, headers)."""
  boundary = re.search(r'boundary="?([^";]+)', kind)[1].encode()
  found = []
  for part in body.split(b'--' + boundary)[1:-1]:
    head, _, content = part.lstrip(b'\r\n').partition(
      b'\r\n\r\n' if b'\r\n\r\n' in part else b'\n\n'
    )
    content = content.removesuffix(b'\n').removesuffix(b'\r')
    headers = email.parser.Parser().parsestr(head.decode())
    found.append((content, dict(headers)))
  return found
