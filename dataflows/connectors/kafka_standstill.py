"""Telling a consumer that has ceased to fetch from one at whose partitions nothing is written.

librdkafka has been seen to fetch nothing more after its broker was started again, and says nothing of it. The rule: a
partition that stays where it is, although committed records stand behind it, and although the flow takes what comes,
ends the flow, which begins anew with other consumers.
"""

import time

from confluent_kafka import IsolationLevel
from confluent_kafka.admin import AdminClient, OffsetSpec

from dataflows.connectors.topic import offsets_of
from dataflows.errors import RatemillError

SECONDS_OF_PATIENCE = 30.0
# Between two looks that far apart the flow did not take what came.
_SECONDS_BETWEEN_LOOKS = 10.0


class Standstill:
    """The partitions of one consumer of a topic that do not move, and since when."""

    def __init__(self, topic: str, admin: AdminClient) -> None:
        self._topic = topic
        self._admin = admin
        self._since: dict[int, tuple[int, float]] = {}
        self._looked_at = 0.0

    def forget(self) -> None:
        """Nobody can tell: there is more than the flow takes, or the broker is away."""
        self._since.clear()

    def check(self, places: dict[int, int]) -> None:
        """RatemillError if one of these partitions, behind whose next offset records stand, has stood there for long.

        `places` are all such partitions.
        """
        moment = time.monotonic()
        began = self._since if moment - self._looked_at < _SECONDS_BETWEEN_LOOKS else {}
        self._looked_at = moment
        self._since = {
            partition: began[partition] if began.get(partition, (None,))[0] == offset else (offset, moment)
            for partition, offset in places.items()
        }
        stuck = [number for number, (_, since) in self._since.items() if moment - since > SECONDS_OF_PATIENCE]
        for partition, end in self._committed(stuck).items():
            if end > places[partition]:
                raise RatemillError(
                    f"nothing more comes of {self._topic}, partition {partition}, offset {places[partition]}, although"
                    f" {end - places[partition]:,} records stand there for {SECONDS_OF_PATIENCE:g} s"
                )

    def _committed(self, partitions: list[int]) -> dict[int, int]:
        """Up to where records may be read: what stands behind may be a transaction that is open, and waited for."""
        latest, committed = OffsetSpec.latest(), IsolationLevel.READ_COMMITTED
        try:
            return offsets_of(self._admin, self._topic, partitions, latest, isolation=committed)
        except RatemillError:
            # The broker went away since it was asked for the others.
            self.forget()
            return {}
