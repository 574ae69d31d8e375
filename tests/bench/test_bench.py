"""The benchmark works on tiny sizes, and its parts measure what they say."""

import orjson
import pytest

from ops.bench import __main__ as bench
from ops.bench import kafka
from ops.bench.floors import Floor, floors_of
from ops.bench.limit import DECODERS, chunks, measure_limit
from ops.bench.report import STAGES
from ops.bench.scenario import Scenario, bench_catalog, subscription_id, traffic_file
from ops.bench.stopwatch import Stopwatch, peak_memory, present_memory

TINY = Scenario(50, 2_000)


@pytest.fixture
def traffic(tmp_path):
    return traffic_file(TINY, tmp_path)


def test_traffic_is_seeded_and_valid(traffic, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    assert traffic_file(TINY, again).read_bytes() == traffic.read_bytes()
    events = [orjson.loads(line) for line in traffic.read_bytes().splitlines()]
    assert len(events) == TINY.events
    assert len({event["id"] for event in events}) == TINY.events
    held = {subscription_id(number) for number in range(TINY.subscriptions)}
    assert {event["subscription"] for event in events} == held
    assert {subscription.id for subscription in bench_catalog(TINY.subscriptions).subscriptions} == held
    assert sorted(event["time"] for event in events) == [event["time"] for event in events]
    assert 150 < traffic.stat().st_size / TINY.events < 250


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_limit_decodes_every_event(traffic, decoder):
    assert measure_limit(traffic, decoder)["events"] == TINY.events


def test_chunks_are_whole_lines(traffic):
    pieces = list(chunks(traffic, 1000))
    assert len(pieces) > 100
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert b"".join(pieces) == traffic.read_bytes()


def test_a_stage_counts_its_own_time_only():
    watch = Stopwatch()
    with watch.stage("outer"), watch.stage("inner"):
        sum(range(2_000_000))
    assert watch.seconds["inner"] > 10 * watch.seconds["outer"] > 0


def test_memory_is_that_of_this_process():
    assert 10 << 20 < present_memory() <= peak_memory()


@pytest.mark.parametrize(("value", "most", "reached"), [(0.5, True, True), (0.7, True, False), (0.7, False, True)])
def test_a_floor_knows_its_side(value, most, reached):
    assert Floor("x", value, 0.6, 0.2, "", most).reached is reached


@pytest.mark.slow
def test_the_whole_benchmark_runs_tiny(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "_TRAFFIC", tmp_path / "traffic")
    sizes = bench.Sizes(TINY, (TINY, Scenario(200, 2_000)), (TINY,), kafka.QUICK_KAFKA, repeats=1)
    results = bench.run(sizes, ["core", "files", "settlement"])
    bench.publish(results, tmp_path)
    assert [flow["events"] for flow in results["flows"]] == [2_000, 2_000]
    for flow in results["flows"]:
        assert sum(flow["verdicts"].values()) == flow["verdicts"]["rated"] + flow["verdicts"]["exempt"] == 2_000
        assert all(flow["stages"][stage] > 0 for stage in STAGES)
        assert flow["peak_memory"] > 0
    assert results["resume"]["received"] == 1_000
    assert results["resume"]["verdicts"]["duplicate"] == 0
    [settled] = results["settlement"]
    assert settled["invoices"] == TINY.subscriptions
    assert settled["seconds"] > 0 < settled["sum_seconds"]
    written = orjson.loads((tmp_path / "bench.json").read_bytes())
    assert [floor["name"] for floor in written["floors"]] == [floor.name for floor in floors_of(results)]
    page = (tmp_path / "README.md").read_text()
    assert all(f"| {floor.name} |" in page for floor in floors_of(results))
    assert (tmp_path / "bench.svg").read_text().count("subscriptions") >= 1
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert "Floors" in capsys.readouterr().out


def test_figures_of_parts_that_are_not_run_stay(tmp_path, monkeypatch, capsys):
    found = {"core": 1, "state_per_charge": 1, "subscriptions": 1}
    core = found | dict.fromkeys(("decode", "admit", "rate", "assemble", "price", "whole"), 1)
    monkeypatch.setattr(bench, "_core", lambda _: core)
    monkeypatch.setattr(bench, "measure_kafka", lambda *_: {"absent": "no Java was found"})
    monkeypatch.setattr("sys.argv", ["bench", "--only", "core", "--out", str(tmp_path)])
    bench.main()
    monkeypatch.setattr("sys.argv", ["bench", "--only", "kafka", "--out", str(tmp_path)])
    bench.main()
    written = orjson.loads((tmp_path / "bench.json").read_bytes())
    assert written["core"] == core
    assert written["kafka"] == {"absent": "no Java was found"}
    page = " ".join((tmp_path / "README.md").read_text().split())
    assert "Kept from an earlier run: core." in page
    assert "Kafka was not measured: no Java was found." in page
    assert "The core alone" in capsys.readouterr().out
