"""The peer: graduated pricing as a plain Quix Streams job, one event at a time; run with an environment of its own.

`python rating_job.py '{"bootstrap": ..., "topic": ..., "output": ..., "group": ..., "lines": ..., "state": ...}'`
It prices what the benchmark's flow prices, by the same tiers, with exact decimals, exactly once: usage so far of each
subscription and month in the job's state, one record per line item to the output topic. It does less: it looks for no
duplicates, late or unknown events, and keeps no event. Ends after so many lines, and prints what that took.
"""

import json
import sys
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from time import perf_counter, process_time
from typing import Any

from quixstreams import Application, State  # type: ignore[import-not-found]
from quixstreams.models import JSONDeserializer  # type: ignore[import-not-found]

TIERS = (
    (Decimal(0), Decimal(100), Decimal("0.10")),
    (Decimal(100), Decimal(1000), Decimal("0.05")),
    (Decimal(1000), Decimal("Infinity"), Decimal("0.0125")),
)
_FAILED = 500


class Job:
    """Prices events, and knows when the first one came."""

    def __init__(self) -> None:
        self.begun = self.cpu = 0.0

    def price(self, event: dict[str, Any], state: State) -> list[dict[str, str]]:
        """The lines of one event; its key is the subscription."""
        if not self.begun:
            self.begun, self.cpu = perf_counter(), process_time()
        if event["data"]["status"] >= _FAILED:
            return []
        period, quantity = event["time"][:7], event["data"]["gigabytes"]
        before = Decimal(state.get(period, "0"))
        after = before + quantity
        state.set(period, str(after))
        return [
            {
                "event": event["id"],
                "subscription": event["subscription"],
                "period": period,
                "tier": str(tier),
                "quantity": str(amount),
                "unit_price": str(price),
                "amount": str(amount * price),
            }
            for tier, amount, price in slices(before, after)
        ]


def slices(before: Decimal, after: Decimal) -> Iterator[tuple[int, Decimal, Decimal]]:
    """The part of the usage from `before` to `after` that lies in each tier, with its price."""
    for tier, (lower, upper, price) in enumerate(TIERS, 1):
        if before < upper and after > lower:
            yield tier, min(after, upper) - max(before, lower), price


def main(bootstrap: str, topic: str, output: str, group: str, lines: int, state: str) -> None:
    """Run the job; print what it took as JSON."""
    job = Job()
    application = Application(
        broker_address=bootstrap,
        consumer_group=group,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        state_dir=state,
        loglevel="WARNING",
    )
    exact = JSONDeserializer(loads=partial(json.loads, parse_float=Decimal))
    events = application.topic(topic, value_deserializer=exact, key_deserializer="str")
    items = application.topic(output, key_serializer="str")
    application.dataframe(events).apply(job.price, stateful=True, expand=True).to_topic(items)
    application.run(count=lines, collect=False)
    print(json.dumps({"seconds": perf_counter() - job.begun, "cpu": process_time() - job.cpu}))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
