"""`python -m hrnas` is the command `hrnas`."""

import sys

from hrnas.cli import main

sys.exit(main())
