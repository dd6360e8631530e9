"""`python -m bezel.cli`."""

import sys

from bezel.cli.main import main

sys.exit(main())
