"""Numba's `njit` and a prefetch, or stand-ins that say what to install once a kernel is called."""

from collections.abc import Callable
from typing import Any


try:
    from llvmlite import ir
    from numba import njit, types
    from numba.core import cgutils
    from numba.extending import intrinsic

    @intrinsic
    def prefetch(_, array, index):
        """Asks for the cache line of array[index], for use soon from the second-level cache; any index is safe."""

        def generate(context, builder, signature, arguments):
            kind = signature.args[0]
            data = context.make_array(kind)(context, builder, arguments[0])
            item = cgutils.get_item_pointer(context, builder, kind, data, [arguments[1]])
            pointer = builder.bitcast(item, cgutils.voidptr_t)
            word = ir.IntType(32)
            kinds = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, word, word, word])
            function = builder.module.declare_intrinsic("llvm.prefetch", [cgutils.voidptr_t], kinds)
            # A read (0) with locality 2 of data (1).
            builder.call(function, [pointer, *(ir.Constant(word, value) for value in (0, 2, 1))])
            return context.get_dummy_value()

        return types.void(array, index), generate

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

    def prefetch(array: Any, index: int) -> None:  # type: ignore[misc]
        """Called from compiled code only, which cannot exist without numba."""


__all__ = ["njit", "prefetch"]
