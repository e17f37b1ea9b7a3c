"""The fixture of the tests of launchers."""

import pytest
from stand_ins import Machine


@pytest.fixture
def machine(tmp_path):
  found = Machine(tmp_path)
  yield found
  found.end()
