"""Where the parts of an event stand in a record that is none of CloudEvents: a Revenium event, a gateway's access log.

Owns what each format says by itself, and how a source's `mapping` changes it. Does not own reading records
(`dataflows.steps.formats`). The rule: a path that a source maps replaces all of the format's own for that name.

>>> from schemas.catalog import Source
>>> (edge,) = foreign_sources([Source(id="edge", format="envoy", mapping={"credential": "client.key"})])
>>> edge.attributes["credential"], edge.attributes["time"]
((('client', 'key'),), (('start_time',),))
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from schemas.catalog import Source, SourceFormat
from schemas.record_paths import MAPPED_ATTRIBUTES, RecordPath, parse_path

# The first of these paths that leads to a value counts.
Places: TypeAlias = tuple[RecordPath, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ForeignSource:
    """One source and where its records have what. `elements` are in the order of their names.

    `payload` leads to an object whose members are all elements. `unset` are texts that stand for no value. A record
    that names no source is this one's if `takes_unnamed` and one of the `marks` of the format is there.
    """

    id: str
    format: SourceFormat
    attributes: Mapping[str, Places]
    elements: Mapping[str, Places]
    payload: Places
    unset: frozenset[str]
    marks: Places
    takes_unnamed: bool


@dataclass(frozen=True, slots=True)
class _Format:
    """What a format says by itself; of paths parted by blanks the first with a value counts."""

    attributes: dict[str, str]
    elements: dict[str, str]
    marks: str
    payload: str = ""
    unset: frozenset[str] = frozenset([""])


_FORMATS: dict[SourceFormat, _Format] = {
    "revenium": _Format(
        attributes={
            "id": "transactionId",
            "source": "sourceId",
            "time": "time",
            "credential": (
                "subscriberCredential usage_metadata.subscriber_credential payload.usage_metadata.subscriber_credential"
            ),
            "subscriber": "usage_metadata.subscriber_identity payload.usage_metadata.subscriber_identity",
            "organization": "usage_metadata.organization_id payload.usage_metadata.organization_id",
        },
        elements={},
        payload="payload",
        marks="transactionId payload usage_metadata",
    ),
    "kong": _Format(
        attributes={
            "id": "request.id",
            "source": "service.name service.id",
            "time": "started_at",
            "credential": "consumer.custom_id consumer.id authenticated_entity.id",
        },
        elements={
            "status": "response.status",
            "request_bytes": "request.size",
            "response_bytes": "response.size",
            "method": "request.method",
            "path": "request.uri",
            "latency": "latencies.request",
        },
        marks="latencies started_at",
    ),
    "envoy": _Format(
        attributes={
            "id": "request_id x-request-id",
            "source": "upstream_cluster authority :authority",
            "time": "start_time",
        },
        elements={
            "status": "response_code",
            "request_bytes": "bytes_received",
            "response_bytes": "bytes_sent",
            "method": "method",
            "path": "path x-envoy-origin-path",
            "latency": "duration",
        },
        marks="response_code response_flags",
        unset=frozenset(["", "-"]),
    ),
}


def foreign_sources(sources: Iterable[Source]) -> tuple[ForeignSource, ...]:
    """The sources whose records are no CloudEvents events, in the order of the catalog."""
    foreign = [source for source in sources if source.format in _FORMATS]
    formats = Counter(source.format for source in foreign)
    return tuple(_foreign_source(source, formats[source.format] == 1) for source in foreign)


def _foreign_source(source: Source, is_only_one: bool) -> ForeignSource:
    own = _FORMATS[source.format]
    paths = {name: _places(text) for name, text in (own.attributes | own.elements).items()}
    paths |= {name: (parse_path(text),) for name, text in source.mapping.items()}
    return ForeignSource(
        id=source.id,
        format=source.format,
        attributes={name: paths[name] for name in MAPPED_ATTRIBUTES if name in paths},
        elements={name: paths[name] for name in sorted(paths.keys() - set(MAPPED_ATTRIBUTES))},
        payload=_places(own.payload),
        unset=own.unset,
        marks=_places(own.marks),
        takes_unnamed=is_only_one and "source" not in source.mapping,
    )


def _places(texts: str) -> Places:
    return tuple(parse_path(text) for text in texts.split())
