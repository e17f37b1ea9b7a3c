"""The folders of datasets are found, and packaged, by listing."""

import pathlib
import runpy

import pytest

import nasfas_datasets
from nasfas_datasets import folders

ROOT = pathlib.Path(__file__).resolve().parents[2]


def write(parent, folder, file):
  (parent / folder).mkdir(parents=True)
  (parent / folder / file).write_text('')


def test_a_folder_counts_by_its_builder(tmp_path, monkeypatch):
  write(tmp_path / 'a', 'first', 'first_dataset_builder.py')
  write(tmp_path / 'a', 'no_builder', 'layout.py')
  write(tmp_path / 'a', 'other_name', 'some_dataset_builder.py')
  write(tmp_path / 'b', 'first', 'first_dataset_builder.py')
  write(tmp_path / 'b', 'alpha', 'alpha_dataset_builder.py')
  path = [str(tmp_path / name) for name in ('a', 'missing', 'b')]
  monkeypatch.setattr(nasfas_datasets, '__path__', path)
  assert list(folders.dataset_folders().items()) == [
    ('alpha', tmp_path / 'b' / 'alpha'),
    ('first', tmp_path / 'a' / 'first'),
  ]


def test_the_package_holds_every_folder_and_its_documents(monkeypatch):
  setuptools = pytest.importorskip('setuptools')
  made = {}
  monkeypatch.setattr(setuptools, 'setup', lambda **kwargs: made.update(kwargs))
  monkeypatch.chdir(ROOT)
  runpy.run_path('setup.py')
  names = {f'nasfas_datasets.{name}' for name in folders.dataset_folders()}
  packaged = {p for p in made['packages'] if p.startswith('nasfas_datasets.')}
  # Part of the code of synthetic_fas, which has its documents.
  packaged.remove('nasfas_datasets.synthetic_fas.v2')
  assert packaged == names == set(made['package_data'])
  for patterns in made['package_data'].values():
    assert {'*.md', '*.txt', '*.bib'} <= set(patterns)
