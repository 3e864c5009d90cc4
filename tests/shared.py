"""Where the real data and the reference phantoms lie, and the mark of the tests that need them."""

from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
REAL, IBSI = DATA / "bids-real", DATA / "ibsi"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason=f"there are no real data at {REAL}")
needs_ibsi = pytest.mark.skipif(not IBSI.is_dir(), reason=f"there are no IBSI phantoms at {IBSI}")
