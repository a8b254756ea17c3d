"""Numbers that `fold`, its twin and `featsvc.accounts` share."""

from enum import IntEnum

# Statuses of a feature's value.
PRESENT = 1
NULL_VALUE = 2
NOT_FOUND = 3
OUTSIDE_MAX_AGE = 4
SATURATED = 5
DEGRADED = 6
NOT_RETAINED = 7
WARMING = 8
DAMAGED = 9
SATURATED_WARMING = 10
"""Only between `fold` and its caller: SATURATED until it is estimated, then WARMING."""

# Aggregations.
COUNT = 0
SUM = 1
MEAN = 2
STDDEV = 3
MIN = 4
MAX = 5
FIRST = 6
LAST = 7
AGE_OF_FIRST = 8
AGE_OF_LAST = 9
DISTINCT = 10

META_PART = 0
"""Number of the part that is the meta record."""

# Columns of a plan, which has one row per feature.
PART = 0
"""Number of the part that holds the ring or list."""
AGGREGATION = 1
WIDTH_MS = 2
"""Width of a bucket; 0 for a lifetime feature."""
BUCKETS = 3
WINDOW_MS = 4
MAX_AGE_MS = 5
"""0 for no limit."""
COMPANION = 6
"""Number of the part that holds the companion ring of a SUM or of MOMENTS; 0 for none."""
COMPLETE_SINCE_MS = 7
"""From when on the ring has every event, 0 for ever."""
PLAN_COLUMNS = 8

MAX_STACK = 32
"""Most values that a postfix program may have on its stack."""


class Op(IntEnum):
    """Instructions of a postfix program."""

    CONSTANT = 0
    FEATURE = 1
    ADD = 2
    SUBTRACT = 3
    MULTIPLY = 4
    DIVIDE = 5
    NEGATE = 6
    LESS = 7
    LESS_EQUAL = 8
    GREATER = 9
    GREATER_EQUAL = 10
    EQUAL = 11
    NOT_EQUAL = 12
    MINIMUM = 13
    MAXIMUM = 14
    COALESCE = 15
