-- Each refund, with the invoice that it is of and the one that carries it; of a voided invoice none, because its
-- successor carries it.
CREATE VIEW refunds AS
SELECT
    lines.refund_id,
    lines.refunded_invoice_id,
    invoices.invoice_id,
    invoices.number,
    lines.line_number,
    invoices.issued_at,
    lines.subscription_id,
    invoices.subscriber,
    lines.organization_id,
    lines.product_id,
    lines.amount,
    lines.currency
FROM invoice_lines AS lines
JOIN invoices ON invoices.invoice_id = lines.invoice_id
WHERE
    lines.line_kind = 'refund'
    AND invoices.invoice_id NOT IN (SELECT voids FROM invoices WHERE voids IS NOT NULL);
