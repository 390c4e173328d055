"""`python -m tcl_core.pack`: see `tcl_core.align.pack`."""

import sys

from tcl_core.align.pack import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
