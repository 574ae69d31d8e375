"""Loops over a column that NumPy and Polars have no operation for, compiled to machine code.

A compiled function sees arrays and integers only; it holds no lock of Python's, so other threads go on meanwhile. What
is compiled is kept beside the source (or in the folder that NUMBA_CACHE_DIR names, or in the user's cache) and made
again when that file changes; so a compiled function may call only those of its own file, and constants that it takes
from another file are frozen into it: delete the folders `__pycache__` after changing one of those. In it, never mix
signed and unsigned 64-bit integers: they are compared as floats, and their sum is signed.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """The function as machine code, compiled at its first call or taken from the cache."""
    try:
        return _compiled(function, cache=True)
    except RuntimeError:  # numba's: no place where the machine code could be kept, so it is made at every start
        return _compiled(function, cache=False)


def _compiled(function: _Function, *, cache: bool) -> _Function:
    return cast(_Function, numba.njit(cache=cache, nogil=True, error_model="numpy")(function))
