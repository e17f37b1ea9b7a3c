"""Fixtures of the datasets' tests."""

import pytest

from nasfas_datasets import text_files


@pytest.fixture
def texts(monkeypatch):
  """Name of a file -> its text, read in place of files: for many cases."""
  found = {}
  monkeypatch.setattr(
    text_files, 'read', lambda path, max_bytes=0: found[path.name]
  )
  return found
