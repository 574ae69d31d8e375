"""Amounts whose sign would turn them round: a refund that charges, a bound of spend that pays out."""

import pytest

from dataflows.connectors.catalog_folder import load_catalog
from schemas.problems import CatalogErrors

PRODUCT = "{id: p, version: 1.0.0, currency: USD, settlement_period: month, payment_model: transactional, rate: '1'"


@pytest.mark.parametrize("amount", ["-3", "0"])
def test_a_refund_gives_back(tmp_path, amount):
    text = f"refunds: [{{id: r, invoice: i, amount: '{amount}', issued_at: '2026-01-01T00:00:00Z'}}]"
    (tmp_path / "catalog.yaml").write_text(text)
    with pytest.raises(CatalogErrors, match="must be greater than 0"):
        load_catalog(tmp_path)


@pytest.mark.parametrize("bound", ["minimum_spend", "maximum_spend"])
def test_a_bound_of_spend_is_never_below_zero(tmp_path, bound):
    (tmp_path / "catalog.yaml").write_text(f"products: [{PRODUCT}, {bound}: '-5'}}]")
    with pytest.raises(CatalogErrors, match="must not be negative"):
        load_catalog(tmp_path)
