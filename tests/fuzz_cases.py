"""How many cases the fuzz tests of the readers generate. A longer run:

NASFAS_FUZZ_CASES=100000 pytest $(grep -rl fuzz_cases tests --include='*.py')
"""

import os

CASES = int(os.environ.get('NASFAS_FUZZ_CASES', '2000'))
