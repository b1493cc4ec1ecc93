"""`python -m exchange.simulator`: the simulated venue alone."""

from __future__ import annotations

import sys

from exchange.simulator.server import main

if __name__ == "__main__":
    sys.exit(main())
