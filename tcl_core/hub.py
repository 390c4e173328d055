"""`python -m tcl_core.hub`: see `tcl_core.load.hub`."""

import sys

from tcl_core.train.hub import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
