"""From a world in which something is wrong to the fewest records in which it still is."""

from collections.abc import Callable
from dataclasses import replace

from tests.laws.worlds import World


def fewest_records(world: World, is_wrong: Callable[[World], bool]) -> World:
    """Leaves out records, first in long runs, then one by one, as long as the world stays wrong.

    >>> import datetime
    >>> world = World({}, None, [(0, bytes([n]), None) for n in range(20)], None, None)
    >>> smallest = fewest_records(world, lambda w: {b"\\x03", b"\\x0b"} <= {raw for _, raw, _ in w.records})
    >>> [raw for _, raw, _ in smallest.records]
    [b'\\x03', b'\\x0b']
    """
    step = len(world.records) // 2
    while step >= 1:
        start = 0
        while start < len(world.records):
            fewer = replace(world, records=world.records[:start] + world.records[start + step :])
            if fewer.records and is_wrong(fewer):
                world = fewer
            else:
                start += step
        step //= 2
    return world
