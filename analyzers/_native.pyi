# SPDX-License-Identifier: Apache-2.0
# Built by analyzers/native/build_ffi.py out of the contract headers; cffi checks the C types as it runs.

from typing import Any

from cffi import FFI

ffi: FFI
lib: Any
