"""What a template may say: everything else is told when it is loaded, with its line and the nearest right word."""

from random import Random
from time import process_time

import pytest

from dataflows.templating.engine import LONGEST_TEMPLATE, Compiled, Engine, RenderError
from schemas.notification_variables import KINDS
from tests.templates.world import worded

REFUSED = [
    # what a template says, in which line, what the person who wrote it reads
    ("{{ limt }}", 1, "unknown variable 'limt'; did you mean 'limit'?"),
    ("a\nb {{ total }}", 2, "unknown variable 'total'"),
    ("{{ organization.storefront }}", 1, "'organization' has no 'storefront'; did you mean 'storefront_url'?"),
    ("{% if 1 == 2 %}\n{{ organization['nam'] }}{% endif %}", 2, "'organization' has no 'nam'; did you mean 'name'?"),
    ("{{ limit.real }}", 1, "'limit' has no parts, so it has no 'real'"),
    ("{{ organization }}", 1, "'organization' cannot be shown as a whole; write organization.id"),
    ("{{ quota or organization }}", 1, "'organization' cannot be shown as a whole; write organization.id"),
    ("{{ limit|quantty }}", 1, "unknown filter 'quantty'; did you mean 'quantity'?"),
    ("{{ quota|quantity }}", 1, "the filter 'quantity' takes quantity or count or amount, and 'quota' is text"),
    ("{{ limit|amount('USD') }}", 1, "the filter 'amount' takes amount, and 'limit' is quantity"),
    ("{{ limit|quantity(2) }}", 1, "the filter 'quantity' takes nothing besides"),
    ("{{ quota|default }}", 1, "the filter 'default' needs a value"),
    ("{{ limit|default('none')|quantity }}", 1, "the filter 'quantity' takes quantity or count or amount, and 'this"),
    ("{% if not limit %}{{ '0,8'|decimal }}{% endif %}", 1, "the filter 'decimal' takes a decimal as it is written"),
    ("{{ quota|decimal }}", 1, "the filter 'decimal' takes a decimal as it is written"),
    ("{{ 'x' if synthetic }}", 1, "an if within {{ }} needs an else"),
    ("a\n{{ 'b\\x00' }}", 2, "this text holds a control character"),
    ("a\n\nb\x00", 3, "it holds a control character"),
    (
        "{% if window_end > window_start %}{% endif %}",
        0,
        "with everything null that may be, it fails: '>' not supported",
    ),
    ("{{ quota|safe }}", 1, "unknown filter 'safe'"),
    ("{{ quota is odd }}", 1, "unknown test 'odd'; there is only: is none"),
    ("{{ quota == none }}", 1, "whether a value is null is asked with: is none"),
    ("{% if limit > quota %}{% endif %}", 1, "'limit' is quantity and cannot be compared with text"),
    ("{% if share > 0.8 %}{% endif %}", 1, '0.8 loses digits; write "0.8"|decimal'),
    ("{{ limit - usage_after }}", 1, "arithmetic is not possible here"),
    ("{{ 'a' * 1000000000 }}", 1, "arithmetic is not possible here"),
    ("{{ quota ~ quota }}", 1, "joining with ~ is not possible here"),
    ("{{ quota[0] }}", 1, "an index is not possible here"),
    ("{{ quota.upper() }}", 1, "a call is not possible here"),
    ("{{ ''.__class__ }}", 1, "'this text' has no parts, so it has no '__class__'"),
    ("{{ organization.__class__ }}", 1, "'organization' has no '__class__'"),
    ("{{ self._TemplateReference__context }}", 1, "unknown variable 'self'"),
    ("{% for i in range(10**9) %}{% endfor %}", 1, "a call is not possible here"),
    ("{% for i in quota %}{% endfor %}", 1, "a loop runs over a list, and 'quota' is none"),
    ("{% set x = 1 %}", 1, "'set' is not possible here; there are if, for, block, extends and include"),
    ("{% macro m() %}{% endmacro %}", 1, "'macro' is not possible here; there are if, for, block, extends and include"),
    ("\n{% import 'layout.html' as x %}", 2, "'import' is not possible here; there are if, for, block, extends"),
    ("{% autoescape false %}{% endautoescape %}", 1, "'autoescape' is not possible here"),
    ("{% include 'quota_reached.txt' %}", 1, "only HTML extends 'layout.html', and only text includes 'footer.txt'"),
    ("{% include '/etc/passwd' %}", 1, "only HTML extends 'layout.html', and only text includes 'footer.txt'"),
    ("{% extends 'layout.html' %}", 1, "only HTML extends 'layout.html', and only text includes 'footer.txt'"),
    ("{% block content %}{% endblock %}", 1, "a block is content or footer, stands in HTML and in no condition"),
    ("a\n{% if limit %}\nb", 3, "unexpected end of template"),
    ("a\n{{ limit", 2, "unexpected end of template"),
    ("{% trans %}", 1, "encountered unknown tag 'trans'"),
    ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", 0, "it is nested too deeply"),
    ("{{ " + "9" * 5000 + " }}", 0, "it cannot be read: "),
    ("x" * (LONGEST_TEMPLATE + 1), 0, f"it has {LONGEST_TEMPLATE + 1} characters; at most {LONGEST_TEMPLATE} are"),
]


def faults(source, part="text", kind="quota_reached"):
    made = Engine().made(kind, part, source)
    return [] if isinstance(made, Compiled) else list(made)


@pytest.mark.parametrize(("source", "line", "says"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_a_template_may_not_say(source, line, says):
    found = faults(source)
    assert [fault.line for fault in found] == [line]
    assert found[0].message.startswith(says)


def test_all_faults_are_told_in_the_order_of_their_lines():
    told = [
        (fault.line, fault.message) for fault in faults("{{ a_a }}\n{{ limit|b_b }}\n{% if c_c %}{{ d_d }}{% endif %}")
    ]
    assert told == [
        (1, "unknown variable 'a_a'"),
        (2, "unknown filter 'b_b'"),
        (3, "unknown variable 'c_c'"),
        (3, "unknown variable 'd_d'"),
    ]


LOOPS = [
    ("{% for line in lines %}{% for one in lines %}{% endfor %}{% endfor %}", "a loop in a loop is not possible here"),
    ("{% for line in lines %}{{ line.price }}{% endfor %}", "'line' has no 'price'; did you mean 'unit_price'?"),
    ("{% for line in lines %}{% endfor %}{{ line.amount }}", "unknown variable 'line'; did you mean 'lines'?"),
    ("{% for line in lines recursive %}{% endfor %}", "a loop reads: for one in lines"),
    ("{% for a, b in lines %}{% endfor %}", "a loop reads: for one in lines"),
    ("{{ lines }}", "'lines' cannot be shown as a whole"),
]


@pytest.mark.parametrize(("source", "says"), LOOPS)
def test_what_a_loop_may_not_do(source, says):
    assert [fault.message for fault in faults(source, kind="invoice_issued")] == [says]


HTML = [
    ("{% extends 'layout.html' %}\n<p>lost</p>", 2, "this stands outside of a block; beside 'extends'"),
    ("<p>\n{% extends 'layout.html' %}", 1, "this stands outside of a block; beside 'extends'"),
    ("{% extends 'layout.html' %}\n{% extends 'layout.html' %}", 2, "this stands outside of a block; beside 'extends'"),
    ("{% block content %}{% endblock %}{% block content %}{% endblock %}", 1, "block 'content' defined twice"),
    ("{% if synthetic %}{% extends 'layout.html' %}{% endif %}", 1, "only HTML extends 'layout.html'"),
    ("{% extends 'layout.html' %}{% block contents %}{% endblock %}", 1, "a block is content or footer"),
    ("{% extends 'x.html' %}", 1, "only HTML extends 'layout.html'"),
    ("{% extends organization.name %}", 1, "only HTML extends 'layout.html'"),
]


@pytest.mark.parametrize(("source", "line", "says"), HTML)
def test_what_html_may_not_do(source, line, says):
    found = faults(source, "html")
    assert [fault.line for fault in found] == [line]
    assert found[0].message.startswith(says)


@pytest.mark.parametrize("source", ["two\nlines", "a\r\nb", "a{# #}\n\nb", "a\u2028b"])
def test_a_subject_is_one_line(source):
    assert [fault.message for fault in faults(source, "subject")] == ["a subject is one line, and it gives several"]


def test_an_empty_subject_is_refused_also_where_only_what_is_null_makes_it_so():
    assert [fault.message for fault in faults("{{ window_end|date }}", "subject")] == [
        "with everything null that may be, it gives an empty subject"
    ]
    assert faults("{{ window_end|date|default('soon') }}", "subject") == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_variable_of_another_kind_is_unknown(kind):
    assert (faults("{{ total }}", kind=kind) == []) == (kind == "invoice_issued")


SAID = [
    ("{{ limit }}, {{ synthetic }}, {{ window_start }}", "10,000, no, 1 November 2026, 00:00 UTC"),
    (
        "{{ share|percent }} {% if share >= '0.8'|decimal and not synthetic %}much{% else %}little{% endif %}",
        "100 % much",
    ),
    ("{% if on_exceed == 'block' %}a{% elif limit < 3 %}b{% endif %}{{ 'x' if window_end is none else 'y' }}", "ay"),
    ("{{ organization.name|upper }} {{ quota|length }} {{ organization['id'] }}", "ACMESOFT 8 acme"),
    ("{{ organization.billing_phone|default('none') }}{# not shown #}", "+1 555 0100"),
    ("{{ window_end|default('soon') }} {{ limit|default('none') }}", "1 December 2026, 00:00 UTC 10,000"),
    ("{% raw %}{{ limt }}{% endraw %}", "{{ limt }}"),
]


@pytest.mark.parametrize(("source", "says"), SAID)
def test_what_a_template_may_say(source, says):
    assert worded(source=source) == says


def test_a_loop_knows_where_it_is():
    source = "{% for line in lines %}{{ loop.index }} {{ line.amount }}{% if not loop.last %}; {% endif %}{% endfor %}"
    assert worded("invoice_issued", source=source) == "1 100; 2 1,000; 3 12.53"


PIECES = (
    "{{ }} {% %} if elif else endif for in endfor | quantity amount( default( 'a' ) == > 1 [ ] not and or is none . "
    "extends 'layout.html' include 'footer.txt' block content endblock set {# #} - ~ * <p> , range total lines line "
    "loop.index line.amount organization.name currency synthetic \n"
).split(" ")


def test_any_text_is_a_template_or_is_told_why_not():
    random, passed = Random(7), 0
    for _ in range(400):
        middle = " ".join(random.choices(PIECES, k=random.randint(1, 6)))
        source = random.choice(["{}", "{{{{ {} }}}}", "{{% if {} %}}a{{% endif %}}"]).format(middle)
        found = faults(source, random.choice(["subject", "text", "html"]), "invoice_issued")
        assert all(fault.message and "\n" not in fault.message for fault in found), source
        passed += not found
    assert 10 < passed < 390


def test_the_largest_template_is_ready_within_seconds():
    source = "{% for line in lines %}" + "{% if line.amount > 1 %}{% endif %}" * 1_800 + "{% endfor %}"
    made, begun = Engine().made("invoice_issued", "text", source), process_time()
    assert isinstance(made, Compiled)
    assert made.render({"lines": [{"amount": 1}] * 100}) == ""
    assert process_time() - begun < 5


def test_an_output_beyond_its_bound_is_a_fault_not_a_full_memory():
    source = "{% for line in lines %}" + "x" * 60_000 + "{% endfor %}"
    made = Engine().made("invoice_issued", "text", source)
    assert isinstance(made, Compiled)
    with pytest.raises(RenderError, match="gives more than 2000000 characters"):
        made.render({"lines": [{}] * 100})
