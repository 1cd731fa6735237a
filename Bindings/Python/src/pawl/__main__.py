# SPDX-License-Identifier: Apache-2.0
"""`python -m pawl`: which Pawl is this. `python -m pawl demo`: what it does."""

import sys

from . import __version__, demo, library_path
from ._abi import library

if sys.argv[1:] not in ([], ["demo"]):
    sys.exit("usage: python -m pawl [demo]")
print(f"pawl {__version__}")
print(f"library {library_path}, ABI {library.pawl_abi_version()}")
if sys.argv[1:]:
    demo.main()
