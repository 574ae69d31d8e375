"""The bare limit: read a file of events and decode its JSON, nothing else.

`exact` is the decoder the comparison is made with: every record to a dict, every number to the decimal that was
written.
`orjson` is there for honesty: what the fastest decoder does that reads numbers as floats.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import msgspec
import orjson

# Stays in a core's cache while it is cut into lines; 16 MB at once take almost twice as long.
_CHUNK_BYTES = 1 << 18
DECODERS: dict[str, Callable[[bytes], object]] = {
    "exact": msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode,
    "orjson": orjson.loads,
}


def measure_limit(path: Path, decoder: str) -> dict[str, float]:
    """Reads and decodes the file in chunks of 256 KB; `cpu` is microseconds of CPU time per event."""
    decode = DECODERS[decoder]
    begun, cpu_begun, events = perf_counter(), process_time(), 0
    for chunk in chunks(path):
        lines = chunk.splitlines()
        for line in lines:
            decode(line)
        events += len(lines)
    seconds, cpu = perf_counter() - begun, process_time() - cpu_begun
    return {"events": events, "seconds": seconds, "per_second": events / seconds, "cpu": 1e6 * cpu / events}


def chunks(path: Path, size: int = _CHUNK_BYTES) -> Iterator[bytes]:
    """The file in pieces of whole lines of about `size` bytes."""
    with path.open("rb") as file:
        while chunk := file.read(size):
            yield chunk + file.readline()
