"""What a folder and its files may be, and what is said of one that cannot be read."""

import os
import time

import pytest

from dataflows.connectors.catalog_folder import check, load_catalog
from schemas.problems import CatalogErrors
from tests.catalog.folders import SOUND, changed, problems, write

TOO_DEEP = "is nested more than 50 levels deep"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [1, 2\n", "a.yaml:2: is not YAML: while parsing a flow sequence begun on line 1, "
                   "did not find expected ',' or ']'"),
        ("a: 1\n\tb: 2", "a.yaml:2: is not YAML: while scanning a plain scalar begun on line 1, "
                         "found a tab character that violates indentation"),
        ("sources: []\nx: *nobody", "a.yaml:2: is not YAML: found undefined alias 'nobody'"),
        ("sources: &a [*a]", "a.yaml:1: is not YAML: found undefined alias 'a'"),
        ("sources:\n  - <<: {id: a}", "a.yaml:2: merge keys (<<) are not supported; use an alias for a whole value"),
        ("sources:\n  - ? [a]\n    : b", "a.yaml:2: a key must be text"),
        ("sources: \x00", "a.yaml:1: is not YAML: control characters are not allowed"),
        ("- a\n- b", "a.yaml:1: expected a mapping with keys such as products and subscriptions, not a list"),
        ("just text", "a.yaml:1: expected a mapping with keys such as products and subscriptions, not text"),
        ("sources: " + "[" * 60 + "]" * 60, f"a.yaml:1: {TOO_DEEP}"),
    ],
)  # fmt: skip
def test_a_text_that_is_no_catalog_is_located(tmp_path, text, says):
    assert problems(write(tmp_path, {"a.yaml": text})) == [says]


def test_aliases_of_aliases_are_bounded(tmp_path):
    lines = ["x0: &x0 [a, a, a, a, a, a, a, a, a, a]"]
    lines += [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]" for n in range(1, 9)]
    (found,) = problems(write(tmp_path, {"a.yaml": "\n".join(lines)}))
    assert found == "a.yaml:6: its aliases stand for more than 200000 values"


def test_an_alias_repeats_a_whole_value(tmp_path):
    files = changed("b.yaml", "tiers:", "tiers: &steps")
    files["b.yaml"] = files["b.yaml"].replace(
        '{model: per_unit, unit_price: "0.000003"}', "{model: graduated, tiers: *steps}"
    )
    (gold,) = load_catalog(write(tmp_path, files)).products
    assert gold.charges[0].price.tiers == gold.tiers


def test_bytes_that_are_not_utf8_are_located(tmp_path):
    write(tmp_path, SOUND)
    (tmp_path / "z.yaml").write_bytes(b"sources:\n  - {id: caf\xe9}\n")
    assert problems(tmp_path) == ["z.yaml:2: is not UTF-8 (byte 0xe9)"]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfsources: [{id: a}]")
    assert [source.id for source in load_catalog(tmp_path).sources] == ["a"]


@pytest.mark.parametrize(
    ("name", "says"),
    [("nowhere", "there is no such catalog folder"), ("empty", "holds no YAML files (*.yaml, *.yml)")],
)
def test_a_folder_without_a_catalog_is_said_in_one_sentence(tmp_path, name, says):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".hidden.yaml").write_text("nonsense: [")
    assert [str(problem) for problem in check(tmp_path / name)] == [f"{tmp_path / name}: {says}"]
    with pytest.raises(CatalogErrors) as refused:
        load_catalog(tmp_path / name)
    assert str(refused.value) == f"{tmp_path / name}: {says}"


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "nowhere")
    assert problems(tmp_path) == ["gone.yaml: is not a regular file", "pipe.yaml: is not a regular file"]


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    write(tmp_path, {"a.yaml": "sources: []"})
    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    assert problems(tmp_path) == ["a.yaml: cannot be read: Permission denied"]


def test_files_documents_and_folders_are_merged(tmp_path):
    files = {
        "b/one.yaml": "sources: [{id: a}]\n---\nsources: [{id: b}]",
        "c.yml": "sources: [{id: c}]",
        "d.YAML": "refunds:\n",
        "e.yaml": "# nothing yet\n",
        "notes.txt": "sources: [",
        ".git/x.yaml": "sources: [",
    }
    assert {source.id for source in load_catalog(write(tmp_path, files)).sources} == {"a", "b", "c"}


def test_a_single_file_is_a_catalog_too(tmp_path):
    write(tmp_path, {"a.yaml": "sources: [{id: a}]"})
    assert [source.id for source in load_catalog(tmp_path / "a.yaml").sources] == ["a"]


def test_the_trades_other_words_are_accepted_at_the_edge(tmp_path):
    others = {
        "a.yaml": SOUND["a.yaml"].replace("organizations:\n", "customers:\n").replace("sources:", "assets:"),
        "b.yaml": SOUND["b.yaml"]
        .replace("products:", "plans:")
        .replace("sources:", "assets:")
        .replace("settlement_period:", "invoicing_period:"),
        "c/d.yml": SOUND["c/d.yml"]
        .replace("subscriptions:", "licenses:")
        .replace("product:", "plan:")
        .replace("credentials:", "product_keys:")
        .replace("subscription:", "license:"),
    }
    theirs, ours = load_catalog(write(tmp_path / "theirs", others)), load_catalog(write(tmp_path / "ours", SOUND))
    assert theirs == ours


def test_every_error_is_told_at_once_and_none_follows_from_another(tmp_path):
    files = {
        "a.yaml": SOUND["a.yaml"].replace("{id: maps, elements: [status, tiles]}", "{id: maps, elements: 3}"),
        "b.yaml": SOUND["b.yaml"]
        .replace("sources: [search]", "sources: [search, maps]")
        .replace("currency: USD", "curency: USD")
        .replace('unit_price: "0.05"', "unit_price: 0.05"),
        "c/d.yml": SOUND["c/d.yml"].replace("subscription: sub-1", "subscription: sub-2"),
    }
    assert problems(write(tmp_path, files)) == [
        "a.yaml:7: sources[maps].elements: expected a list, not 3",
        "b.yaml:2: products[gold@1.0.0].currency: the key 'currency' is missing",
        "b.yaml:5: products[gold@1.0.0].curency: unknown key 'curency'; did you mean 'currency'?",
        'b.yaml:10: products[gold@1.0.0].tiers[1].unit_price: 0.05 is a bare number whose digits could be lost; '
        'quote it: "0.05"',
        "c/d.yml:5: credentials[key-1].subscription: unknown subscription 'sub-2'; did you mean 'sub-1'?",
    ]  # fmt: skip


def test_a_broken_file_does_not_make_others_look_broken(tmp_path):
    files = changed("b.yaml", "products:", "products: [")
    (found,) = problems(write(tmp_path, files))
    assert found.startswith("b.yaml:2: is not YAML: ")


def test_loading_raises_every_error_but_no_warning(tmp_path):
    cliff = changed("b.yaml", "payment_model: volume", "payment_model: volume\n    tier_mode: volume")
    assert load_catalog(write(tmp_path / "cliff", cliff)).products[0].tier_mode == "volume"
    two = changed("b.yaml", "sources: [search]", "sources: [serch, mops]")
    with pytest.raises(CatalogErrors) as refused:
        load_catalog(write(tmp_path / "two", two))
    assert [problem.key for problem in refused.value.problems] == [
        "products[gold@1.0.0].sources[0]",
        "products[gold@1.0.0].sources[1]",
    ]


def test_20000_subscriptions_load_in_seconds(tmp_path):
    people = [f"  - {{email: p{n}@acme.com, organizations: [acme]}}" for n in range(20_000)]
    bought = [
        f'  - {{id: s{n}, product: gold@1.0.0, subscriber: p{n}@acme.com, start: "2026-11-01T00:00:00Z"}}'
        for n in range(20_000)
    ]
    many = "\n".join(["subscribers:", *people, "subscriptions:", *bought])
    write(tmp_path, SOUND | {"many.yaml": many})
    began = time.perf_counter()
    assert len(load_catalog(tmp_path).subscriptions) == 20_001
    assert time.perf_counter() - began < 10
