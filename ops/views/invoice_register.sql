-- Each invoice with its present state. A correcting revision names the invoice that it voids; what else is stated of an
-- invoice stands in `stated`, from where every other state comes.
CREATE VIEW invoice_register AS
WITH successors AS (
    SELECT voids AS invoice_id, arg_max(invoice_id, revision) AS voided_by
    FROM invoices
    WHERE voids IS NOT NULL
    GROUP BY voids
),
stated AS (
    SELECT invoices.invoice_id, coalesce(invoice_states.state, 'issued') AS state
    FROM invoices
    LEFT JOIN invoice_states ON invoice_states.invoice_id = invoices.invoice_id
)
SELECT
    invoices.invoice_id,
    invoices.number,
    CASE WHEN successors.voided_by IS NOT NULL THEN 'voided' ELSE stated.state END AS state,
    invoices.subscription_id,
    invoices.subscriber,
    invoices.organization_id,
    invoices.product_id,
    invoices.product_version,
    invoices.period,
    invoices.revision,
    invoices.period_start,
    invoices.period_end,
    invoices.issued_at,
    invoices.currency,
    invoices.total,
    invoices.lines,
    invoices.voids,
    successors.voided_by,
    invoices.synthetic
FROM invoices
JOIN stated ON stated.invoice_id = invoices.invoice_id
LEFT JOIN successors ON successors.invoice_id = invoices.invoice_id;
