"""Whatever stands in a catalog's files, checking it gives located problems and never an exception."""

import tempfile
from pathlib import Path

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflows.connectors.catalog_files import SECTIONS
from dataflows.connectors.catalog_folder import check, load_catalog
from schemas.problems import CatalogErrors
from tests.catalog.folders import SOUND, write

KEYS = sorted({name for model in SECTIONS.values() for name in model.model_fields} | {"up_to", "model", "then"})
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["1.0.0", "a@1.0.0", "month", "USD", "a", "-1", "1e400", "2026-11-01T00:00:00Z", "included", "sum"]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)
catalogs = st.dictionaries(
    st.sampled_from([*SECTIONS]), st.lists(st.dictionaries(st.sampled_from(KEYS), values, max_size=6), max_size=3)
)


def is_sound_or_told(files):
    with tempfile.TemporaryDirectory() as name:
        folder = write(Path(name), files)
        found = check(folder, against=folder)
        assert all(problem.message and problem.file for problem in found)
        errors = {problem for problem in check(folder) if problem.severity == "error"}
        try:
            load_catalog(folder)
            assert not errors
        except CatalogErrors as refused:
            assert errors == set(refused.problems)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(catalogs)
def test_any_values(content):
    is_sound_or_told({"a.yaml": yaml.safe_dump(content, allow_unicode=True)})


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab:-{}[]\"'|>&*!?%@`,#\n\t 01.~"), max_size=60))
def test_any_text(text):
    is_sound_or_told({"a.yaml": text})


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(SOUND)), st.data())
def test_the_sound_catalog_with_a_piece_cut_out_or_written_twice(file, data):
    text = SOUND[file]
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    again = data.draw(st.sampled_from([0, 2]))
    is_sound_or_told(SOUND | {file: text[:start] + text[start:end] * again + text[end:]})
