"""`python -m rnnfast` is the command `rnnfast`."""

import sys

from rnnfast.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
