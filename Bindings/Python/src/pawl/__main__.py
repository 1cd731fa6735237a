# SPDX-License-Identifier: Apache-2.0
"""`python -m pawl`: which Pawl is this."""

from . import __version__, library_path
from ._abi import library

print(f"pawl {__version__}")
print(f"library {library_path}, ABI {library.pawl_abi_version()}")
