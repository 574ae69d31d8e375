"""Paths into records: what is one, and that each is written back as it is meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.record_paths import parse_path, path_text
from tests.laws.profile import law

PATHS = [
    ("id", ("id",)),
    ("$.id", ("id",)),
    ("['$id']", ("$id",)),
    ("request.headers.x-api-key", ("request", "headers", "x-api-key")),
    ('request.headers["x-api-key"]', ("request", "headers", "x-api-key")),
    ("$['a.b'].c", ("a.b", "c")),
    ('["a b"]["[0]"]', ("a b", "[0]")),
    (":authority", (":authority",)),
    ("größe.日本", ("größe", "日本")),
    ("""['say "x"']""", ('say "x"',)),
]
NO_PATHS = [
    "$",
    ".",
    ".a",
    "a.",
    "a..b",
    "a b",
    "a[0]",
    "a[*]",
    "a[b]",
    'a["b"',
    'a[""]',
    'a["b"]c',
    "a]",
    '"a"',
    "a\\b",
    "$.",
    "$id",
    "a.$",
]


@pytest.mark.parametrize(("text", "path"), PATHS)
def test_a_path(text, path):
    assert parse_path(text) == path
    assert parse_path(path_text(path)) == path


@pytest.mark.parametrize("text", NO_PATHS)
def test_what_is_no_path(text):
    with pytest.raises(ValueError, match="is no path such as"):
        parse_path(text)


@law(500)
@given(st.text(alphabet="ab.$[]\"' 0-\\é", max_size=12))
def test_any_text_is_a_path_or_refused(text: str):
    try:
        path = parse_path(text)
    except ValueError:
        return
    assert path
    assert all(path)
    assert parse_path(path_text(path)) == path


@law(300)
@given(st.lists(st.text(min_size=1, max_size=6).filter(lambda name: '"' not in name or "'" not in name), min_size=1))
def test_any_names_have_a_path(names: list[str]):
    assert parse_path(path_text(tuple(names))) == tuple(names)
