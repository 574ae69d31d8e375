"""The page of an invoice in a real browser: on a phone, on a desk, on paper."""

import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread
from pypdf import PdfReader

from ops.invoices.page import invoice_page
from ops.invoices.records import Invoice, invoice_of
from ops.invoices.wording import Names
from tests.browser.chromium import Seen, view

LINES = 120
HUGE = Decimal("12345678901234567890.12")
OCTOBER, NOVEMBER = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)

# What a page says of itself: how wide it is, and what stands beyond its edges or is cut off.
MEASURES = """({
    width: document.documentElement.scrollWidth,
    outside: [...document.querySelectorAll("main *")].filter(one => {
        const box = one.getBoundingClientRect(), style = getComputedStyle(one);
        return style.clipPath === "none" && !one.closest("thead, caption") && box.width > 0
            && (box.left < 0 || box.right > innerWidth + 0.5
                || one.clientWidth > 0 && one.scrollWidth > one.clientWidth + 1);
    }).map(one => one.outerHTML.slice(0, 120)),
    headings: document.querySelectorAll("th[scope]").length,
    loaded: performance.getEntriesByType("resource").length,
    alerted: "alerted" in window,
})"""


def line(kind: str, description: str, amount: Decimal, **stated: Any) -> dict[str, Any]:
    """A line of an invoice; what is not stated is that of a fee of October."""
    unstated = {"adjusts": None, "charge_id": None, "product_id": "calls", "product_version": "1.0.0", "tier": None}
    unstated |= {"period": 1, "period_start": OCTOBER, "period_end": NOVEMBER, "quantity": None, "unit_price": None}
    return {**unstated, "line_kind": kind, "description": description, "amount": amount, **stated}


def lines() -> list[dict[str, Any]]:
    """Lines of every group, and more than two pages of them, some with much longer words and numbers than usual."""
    fee = {"period": 2, "period_start": NOVEMBER, "period_end": NOVEMBER + timedelta(days=30)}
    usage = [
        line("usage", f"calls, tier {number}", Decimal("1234.5"), charge_id="calls", tier=number,
             quantity=Decimal(number), unit_price=Decimal("0.1"))
        for number in range(1, LINES + 1)
    ]  # fmt: skip
    usage[3] |= {"quantity": Decimal("123456789012345.123456"), "unit_price": Decimal("0.000000000001")}
    usage[4] |= {"amount": HUGE, "unit_price": None}
    usage[5] |= {"charge_id": "w" * 120, "description": "w" * 120}
    usage[6] |= {"description": "<script>window.alerted = true</script> " + "z" * 200}
    adjusted = {"adjusts": "usage", "period": 0, "period_start": OCTOBER - timedelta(days=30), "period_end": OCTOBER}
    return [
        line("recurring_fee", "Recurring fee", Decimal(20), **fee),
        *usage,
        line("minimum_spend", "Up to the minimum spend", Decimal(5)),
        line("adjustment", "Adjustment: calls", Decimal("0.3"), charge_id="calls", **adjusted),
        line("refund", "Refund r-1", Decimal(-5)),
    ]


def extreme() -> Invoice:
    """An invoice that tries the page: long words, markup, other scripts, large numbers."""
    recipient = {
        "organization": {
            "id": "acme",
            "name": '<img src=x onerror="window.alerted = true"> שלום',
            "billing_address": "1 Main Street\n" + "a" * 150,
            "billing_email": "b" * 90 + "@acme.example",
            "remittance_instructions": "IBAN NL00 BANK 0000\nWithin 30 days",
            "metadata": {"tax_id": "NL001", "c" * 60: "d" * 90},
        },
        "subscriber": {"email": "joe@acme.example", "name": None},
    }
    head = {
        "invoice_id": "0123456789abcdef" * 2, "number": "n" * 100 + "-1", "subscription_id": "s" * 100,
        "product_id": "calls", "product_version": "1.0.0", "organization_id": "acme", "period": 1, "currency": "USD",
        "period_start": OCTOBER, "period_end": NOVEMBER, "issued_at": NOVEMBER, "total": HUGE, "synthetic": True,
        "recipient": json.dumps(recipient), "catalog_digest": "c" * 32,
        "credentials": json.dumps([{"credential_id": "k" * 80, "amount": "0.000000000000000001"}]),
        "certificate": json.dumps({"progress": None, "verdicts": {}, "ledger_digest": "d" * 64}),
    }  # fmt: skip
    return invoice_of(head, tuple(lines()))


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> tuple[dict[int, Seen], PdfReader]:
    invoice = extreme()
    file = tmp_path_factory.mktemp("page") / "invoice.html"
    file.write_text(invoice_page(invoice, Names(None, invoice.head), "Cloudline\n1 Cloud Street", None))
    screens, paper = view(file, {375: MEASURES, 1200: MEASURES})
    return screens, PdfReader(io.BytesIO(paper))


@pytest.mark.parametrize("width", [375, 1200])
def test_nothing_is_wider_than_the_screen(seen, width):
    said = seen[0][width].value
    assert said["width"] == width
    assert said["outside"] == []
    assert said["headings"] > LINES


def test_nothing_is_run_or_fetched(seen):
    said = seen[0][375].value
    assert (said["loaded"], said["alerted"]) == (0, False)


@pytest.mark.parametrize("width", [375, 1200])
def test_the_picture_shows_a_page(seen, width):
    picture = imread(io.BytesIO(seen[0][width].picture))
    assert picture.shape[1] == width
    assert 0.005 < (picture[:, :, :3].max(axis=2) < 0.4).mean() < 0.3


def test_on_paper_the_columns_are_named_on_every_page_and_the_total_is_there(seen):
    pages = [page.extract_text() for page in seen[1].pages]
    with_lines = [text for text in pages if "1,234.50" in text]
    assert len(with_lines) > 2
    assert all("Description" in text and "Unit price" in text for text in with_lines)
    [last] = [text for text in pages if "12,345,678,901,234,567,890.12 USD" in text]
    assert "Refund r-1" in last
    assert "Within 30 days" in " ".join(pages)
    assert f"{len(pages)} / {len(pages)}" in pages[-1]
    assert (round(seen[1].pages[0].mediabox.width), round(seen[1].pages[0].mediabox.height)) == (595, 842)


def test_the_screenshot_of_the_documents_is_small():
    picture = Path(__file__).resolve().parents[2] / "docs/invoice.png"
    assert picture.stat().st_size < 150_000
