"""Numba's `njit`, or a stand-in that says what to install once a kernel is called."""

from collections.abc import Callable
from typing import Any


try:
    from numba import njit
except ImportError:

    def njit(*_: Any, **__: Any) -> Callable:  # type: ignore[no-redef]
        def decorate(function: Callable) -> Callable:
            def missing(*_: Any, **__: Any) -> None:
                raise ImportError(
                    f'{function.__name__} needs numba: pip install "anatomy-vlm[synthesis]" '
                    "(project_volume_torch and project_labels_torch do without)"
                )

            return missing

        return decorate


__all__ = ["njit"]
