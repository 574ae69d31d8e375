"""The Kafka part of a run as tables and words."""

from collections.abc import Iterator
from typing import Any

from dataflows.ledger.manifest import PUBLICATION_MARGIN
from ops.bench.scenario import BATCH_RECORDS
from ops.bench.sheet import Sheet

# "other" is mostly the threads of Kafka's client, which fetch, and Polars' own.
KAFKA_STAGES = ("consume", "columns", "decode", "admit", "rate", "price", "write", "snapshot", "other")

_WORDS = """\
The *bare limit on Kafka* is one consumer that takes up to {batch:,} records at a time and decodes each one's JSON as
above, nothing else, without garbage collection; *orjson* as above. Limit and flow read the same topic in turns:
{events:,} events on 4 partitions, not compressed, the key of each its subscription, filled before. The time of both
begins with the poll that brings the first records, and ends with the last record decoded, or with the last commit
published when the flow is asked to stop; starting the flow, which reads and compiles the published catalog of
{subscriptions:,} subscriptions, took {start_up:.1f} s before that. The flow is one process, recovery on, {epoch:g} s
between commits. *Broker* is the broker's CPU time meanwhile: it shares the {cores} cores, as do the threads of Kafka's
client, so whoever needs more of them is held back more. Of the stages, *consume* takes messages from Kafka's client,
*columns* makes columns of them, and *other* is mostly the client's threads, which fetch.

{peer}

*Large records* have about {bytes:,} bytes and {elements} elements more than the others. The topic is filled before and
opened at once when `ratemill run rating` runs; the time ends when a reader of the ledger has the last record. Commits
come every 0.5 s. *Busy* says how many cores flow and broker kept busy together; *at most* is what {cores} cores can
carry at that CPU time per event, were they never idle. What one event costs more with two processes is the exchange
between them: shares go to the process that has their key group, as plain bytes.

*Producer to published row*: a producer sends, at half of the flow's throughput above, records that bear the moment of
their sending; a row counts as published once every reader who begins to look sees it. Commits come every {pace:g} s,
so a row waits for the end of its epoch, for its commit, which the engine shows by asking for more, and {margin:g} s
for the manifest's moment. Producer, broker and flow share the {cores} cores; the first {warm_up} s are left out.
*Idle* is `ratemill run rating`, its metrics served, on a topic without records: all its processes together, over
{idle_seconds:.0f} s.
"""
_PEER = """\
The *peer* is ops/bench/peer/rating_job.py, a plain Quix Streams {version} job: the same tiers, exact decimals,
exactly-once processing, one record per line item, on the same topic, from its first event to its last transaction. It
does less: it looks for no duplicates, late or unknown events, and keeps no events. What it wrote is read back and must
equal a naive replay of what it committed."""


def kafka_words(kafka: dict[str, Any]) -> str:
    """What the tables mean, and what was left out."""
    if "absent" in kafka:
        return f"Kafka was not measured: {kafka['absent']}.\n"
    flow, peer, wide, latency = kafka["flow"], kafka["peer"], kafka["processes"][0], kafka["latency"]
    return _WORDS.format(
        cores=kafka["cores"],
        batch=BATCH_RECORDS,
        events=flow["events"],
        subscriptions=flow["subscriptions"],
        start_up=flow["start_up"],
        epoch=flow["epoch"],
        peer=f"The peer was not measured: {peer['absent']}." if "absent" in peer else _PEER.format(**peer),
        bytes=wide["bytes"],
        elements=wide["elements"],
        pace=latency["epoch"],
        warm_up=latency["warm_up"],
        margin=PUBLICATION_MARGIN / 1_000_000,
        idle_seconds=kafka["idle"]["seconds"],
    )


def kafka_sheets(kafka: dict[str, Any]) -> Iterator[Sheet]:
    """The tables; none where Kafka was not measured."""
    if "absent" not in kafka:
        yield _throughput(kafka)
        yield _stages(kafka["flow"])
        yield _processes(kafka["processes"], kafka["cores"])
        yield _latency(kafka["latency"])
        yield _idle(kafka["idle"])


def _throughput(kafka: dict[str, Any]) -> Sheet:
    flow, peer = kafka["flow"], kafka["peer"]
    rows = [
        _row("bare limit: consume, decode exactly", flow, "limit", "limit_cpu", "limit_broker_cpu"),
        _row("the same with orjson", flow, "orjson", "orjson_cpu", "orjson_broker_cpu"),
        _row("Kafka -> ledger, recovery on", flow, "per_second", "cpu", "broker_cpu"),
    ]
    if "absent" not in peer:
        rows.append(_row("peer: a Quix Streams job", {**flow, **peer}, "per_second", "cpu", None))
    columns = ("events/s", "of the limit", "CPU, µs/event", "broker, µs/event")
    return Sheet(f"Kafka -> ledger, {flow['subscriptions']:,} subscriptions", ("", *columns), rows)


def _row(name: str, one: dict[str, Any], rate: str, cpu: str, broker: str | None) -> tuple[str, ...]:
    of_broker = f"{one[broker]:.2f}" if broker else ""
    share = f"{one['ratio']:.2f}" if one[rate] == one["per_second"] and broker else f"{one[rate] / one['limit']:.2f}"
    return name, f"{one[rate]:,.0f}", share, f"{one[cpu]:.2f}", of_broker


def _stages(flow: dict[str, Any]) -> Sheet:
    parts = [flow["stages"].get(stage, 0.0) for stage in KAFKA_STAGES]
    rows = [(f"{flow['subscriptions']:,}", *(f"{part:.2f}" for part in (*parts, sum(parts))))]
    return Sheet("Kafka: CPU time per event and stage, in µs", ("subscriptions", *KAFKA_STAGES, "whole"), rows)


def _processes(runs: list[dict[str, Any]], cores: int) -> Sheet:
    rows = [
        (
            str(run["processes"]),
            f"{run['per_second']:,.0f}",
            f"{run['per_second'] / runs[0]['per_second']:.2f}",
            f"{run['cpu']:.2f}",
            f"{run['broker_cpu']:.2f}",
            f"{run['cores']:.2f}",
            f"{1e6 * cores / (run['cpu'] + run['broker_cpu']):,.0f}",
        )
        for run in runs
    ]
    columns = ("events/s", "of one", "CPU, µs/event", "broker, µs/event", "busy", "at most")
    return Sheet(f"Large records, {runs[0]['bytes']:,} bytes", ("processes", *columns), rows)


def _latency(latency: dict[str, Any]) -> Sheet:
    producer = latency["producer"]
    row = (
        f"{producer['per_second']:,.0f}",
        *(f"{latency[name]:.2f} s" for name in ("p50", "p90", "p99", "max", "max_with_warm_up")),
        f"{latency['cores']:.2f}",
        f"{latency['broker_cores']:.2f}",
        f"{producer['cores']:.2f}",
        f"{1_000 * producer['late']:.0f} ms",
    )
    columns = ("p50", "p90", "p99", "max", "max with start", "flow", "broker", "producer", "its lateness, p99")
    return Sheet("Producer -> published row, and cores kept busy", ("events/s", *columns), [row])


def _idle(idle: dict[str, Any]) -> Sheet:
    row = (f"{idle['partitions']}", f"{100 * idle['cores']:.1f} %", f"{100 * idle['broker_cores']:.1f} %")
    return Sheet("Idle partitions, of a core", ("partitions", "flow", "broker"), [row])
