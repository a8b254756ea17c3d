"""A rectangle as kernels write it: int64 (4,), the first row and column, the last row and column.

Each kernel says whether the last ones are inside.
"""

TOP, LEFT, BOTTOM, RIGHT = 0, 1, 2, 3
