"""The page of templates: its sessions are typed, and its tables are those of the code."""

import re

import pytest

from dataflows.templating.engine import LONGEST_OUTPUT, LONGEST_SUBJECT, LONGEST_TEMPLATE
from dataflows.templating.filters import FILTERS
from dataflows.templating.sources import PARTS, SHARED, file_name
from dataflows.templating.values import LONGEST_VALUE, MOST_LINES
from ops.template_files import built_in_templates
from schemas.notification_variables import COMMON, KINDS, VARIABLES
from tests.ops.ratemill import ROOT
from tests.ops.test_docs import blocks, session
from tests.tidy.test_packaging import project

PAGE = ROOT / "docs/templates.md"
TEXT = PAGE.read_text()


def test_the_session_of_the_page(tmp_path):
    assert len(blocks(TEXT, "bash")) == 3
    out = session(PAGE, tmp_path)
    assert '"subject": "AcmeSoft: no requests left until 1 December 2026"' in out
    assert "Subject: Your trial of Platinum Unlimited ends on 21 November 2026\n\nHello,\n\nyour trial ends" in out
    assert "Buy more" in (tmp_path / "quota.html").read_text()
    assert "2026-000042" in (tmp_path / "invoice.html").read_text()


def documented():
    """The rows of each kind's table, and of `every kind`."""
    sections = re.split(r"^### ", TEXT.partition("## Variables")[2], flags=re.M)[1:]
    return {
        kind: re.findall(r"^\| `([^`]+)` \| ([^|]+) \| (.+) \|$", section, re.M)
        for section in sections
        for kind in section.partition("\n")[0].split(", ")
    }


def in_words(variables):
    """The rows that the page has for some variables."""
    for one in variables:
        nullable = " or null" if one.optional else ""
        if one.type != "record":
            yield one.name, one.type + nullable, one.meaning
        mark = "." if one.type == "record" else "[]."
        yield from ((one.name + mark + name, *rest) for name, *rest in in_words(one.members))


@pytest.mark.parametrize("kind", KINDS)
def test_the_variables_of_a_kind_are_those_of_the_code(kind):
    assert documented()[kind] == list(in_words(one for one in VARIABLES[kind] if one not in COMMON))


def test_the_variables_of_every_kind_are_those_of_the_code():
    assert documented()["every kind"] == list(in_words(COMMON))
    assert set(documented()) == {"every kind", *KINDS}


def test_the_page_names_every_filter_and_bound():
    table = TEXT.partition("| filter |")[2].partition("\n\n")[0]
    named = [name for cell in re.findall(r"^\| (`[^|]*) \|", table, re.M) for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted(FILTERS)
    for bound in (LONGEST_TEMPLATE, LONGEST_OUTPUT, LONGEST_SUBJECT, LONGEST_VALUE):
        assert re.search(rf"(?<![\d,]){bound:,}(?!,?\d)", TEXT), bound
    assert f"the first {MOST_LINES} of them" in TEXT


def test_every_built_in_template_is_in_a_package_of_the_wheel():
    assert set(built_in_templates().files) == {*SHARED, *(file_name(kind, part) for kind in KINDS for part in PARTS)}
    assert "jinja2" in {requirement.partition(">")[0] for requirement in project()["dependencies"]}
    folder = ROOT / "ops/templates"
    assert {path.name for path in folder.iterdir()} == set(built_in_templates().files)
