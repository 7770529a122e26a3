# SPDX-License-Identifier: Apache-2.0
"""Built by analyzers/native/build_ffi.py out of the contract headers; C types are checked by cffi as it runs."""

from typing import Any

from cffi import FFI

ffi: FFI
lib: Any
