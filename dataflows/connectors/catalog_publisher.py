"""Publishing a catalog to its topic: what changed, and the `version` record, in one transaction.

Owns: what is published, and when it takes effect. Does not own: whether the catalog is sound (`catalog_folder`), or
the transaction (`catalog_transaction`). The rule: of two publishers at once, the one that began later wins, and knows
what the other had published; a reader sees the whole version or nothing of it. It takes effect no sooner than the lead
after its publication, so that every flow knows it by then.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from dataflows.catalog_entries import canonical, catalog_of, content_digest, entries_of
from dataflows.catalog_versions import SURE_AHEAD
from dataflows.connectors.catalog_topic import (
    VERSION_KEY,
    VersionRecord,
    check_catalog_topic,
    damaged,
    read_published,
    wait_until_visible,
)
from dataflows.connectors.catalog_transaction import begin_publishing
from dataflows.connectors.kafka_client import plain_kafka_errors
from dataflows.errors import RatemillError
from dataflows.moments import datetime_of, moment_text, now
from dataflows.settings import Settings
from rating.catalog import compile_catalog
from schemas.catalog import Catalog

# Refuses, by raising, the step from the catalog published now to the new one; the moment is when it is made.
Judge = Callable[[Catalog, datetime], None]

_PARTITION = 0
_LEAST_LEAD = 2 * SURE_AHEAD


@dataclass(frozen=True, slots=True)
class Publication:
    """What is published now; `is_new` says whether this made it, by `changed` and `removed` entries.

    `is_late` says that Kafka took so long that flows may have passed the moment at which it takes effect.
    """

    version: VersionRecord
    is_new: bool
    changed: int = 0
    removed: int = 0
    is_late: bool = False


def publish_catalog(
    settings: Settings, catalog: Catalog, effective_from: int | None = None, judge: Judge | None = None
) -> Publication:
    """Publish a catalog that passed the lint; it takes effect at `effective_from` (microseconds UTC), else soon.

    Without a `judge` the step from the published catalog is not judged, a version that waits to take effect may be
    replaced, and a topic that is damaged is put right.
    """
    topic = check_catalog_topic(settings)
    entries = entries_of(catalog)
    with plain_kafka_errors(f"publishing to the topic {topic}"), begin_publishing(settings, topic) as transaction:
        # Whatever an earlier publisher still had under way is undone by now, so this is the last word.
        published = read_published(settings)
        changes = _changes(published.entries, entries)
        before = published.version
        is_whole = published.is_whole()
        if before is not None and is_whole and not changes:
            return Publication(before, is_new=False)
        moment = _moment(settings, effective_from)
        if published.versions and judge is not None:
            if before is None or not is_whole:
                raise damaged(topic)
            _check_order(before, moment)
            judge(catalog_of(published.entries), datetime_of(moment))
        digest = compile_catalog(canonical(catalog)).digest
        for key, value in changes.items():
            transaction.produce(key, value, _PARTITION)
        transaction.deliver()
        made = _version(settings, before, digest, entries, effective_from)
        transaction.produce(VERSION_KEY, msgspec.json.encode(made), _PARTITION)
        transaction.commit()
        is_seen = wait_until_visible(settings, transaction.last_offset)
    removed = sum(value is None for value in changes.values())
    is_late = not is_seen or now() + SURE_AHEAD > made.effective_from
    return Publication(made, True, len(changes) - removed, removed, is_late)


def _changes(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> dict[str, bytes | None]:
    """The records that make `before` to `after`; None removes an entry."""
    changed: dict[str, bytes | None] = {key: value for key, value in after.items() if before.get(key) != value}
    return changed | dict.fromkeys(before.keys() - after.keys())


def _version(
    settings: Settings, before: VersionRecord | None, digest: str, entries: Mapping[str, bytes], stated: int | None
) -> VersionRecord:
    """The record of a version that is published now."""
    moment = now()
    if stated is not None and stated < moment + SURE_AHEAD:
        raise RatemillError(
            f"sending the catalog took until {moment_text(moment)}: name a moment later than {moment_text(stated)}"
        )
    return VersionRecord(
        number=1 if before is None else before.number + 1,
        digest=digest,
        content=content_digest(entries),
        entries=len(entries),
        # Clocks of two machines may differ; versions are in the order of their publication all the same.
        published_at=moment if before is None else max(moment, before.published_at + 1),
        effective_from=_earliest(settings) if stated is None else stated,
        previous=None if before is None else before.published_at,
    )


def _moment(settings: Settings, stated: int | None) -> int:
    """When a version takes effect that is published now; RatemillError if no flow would know it in time."""
    earliest = _earliest(settings)
    if stated is not None and stated < earliest:
        lead = settings.catalog_lead_seconds
        raise RatemillError(
            f"{moment_text(stated)} is too soon: a catalog takes effect {lead:g} s after its publication at the"
            " earliest, so that every flow knows it by then"
        )
    return earliest if stated is None else stated


def _earliest(settings: Settings) -> int:
    return now() + max(round(settings.catalog_lead_seconds * 1_000_000), _LEAST_LEAD)


def _check_order(before: VersionRecord, moment: int) -> None:
    if moment <= before.effective_from:
        raise RatemillError(
            f"catalog number {before.number} waits to take effect at {moment_text(before.effective_from)}: publish this"
            f" one with --effective-from after that, or with --force in its place, so that number {before.number} never"
            " takes effect"
        )
