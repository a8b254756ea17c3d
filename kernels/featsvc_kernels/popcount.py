"""Two machine instructions that Numba does not offer by name: population count and prefetch."""

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj


def _popcount(_context: Any, _word: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


def _prefetch_item(_context: Any, array: Any, _index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        # Numba's own modules are untyped.
        make_array: Any = arrayobj.make_array
        item_pointer: Any = cgutils.get_item_pointer
        function: Any = cgutils.get_or_insert_function
        kind = signature.args[0]
        view = make_array(kind)(context, builder, arguments[0])
        address = item_pointer(context, builder, kind, view, [arguments[1]], wraparound=False)
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        prefetch = function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [byte, word, word, word]),
            "llvm.prefetch.p0",
        )
        # For reading, high temporal locality, data cache.
        builder.call(prefetch, [builder.bitcast(address, byte), word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


popcount = cast(Callable[[Any], int], intrinsic(_popcount))
"""Number of set bits of an unsigned 64-bit word, as int64; LLVM's ctpop."""

prefetch_item = cast(Callable[[Any, Any], None], intrinsic(_prefetch_item))
"""Prefetch the cache line of `array[index]` (1-D, any type); any index is safe, in range or not."""
