-- What was invoiced per month of issue (UTC), product and currency, by family of lines; voided invoices left out. What was
-- simulated is never added to what was used.
-- Usage takes in least and greatest spend; a proration counts for the recurring fees that it corrects.
CREATE VIEW revenue_by_period AS
WITH lines AS (
    SELECT
        invoice_id,
        amount,
        CASE
            WHEN line_kind IN ('recurring_fee', 'proration') THEN 'recurring'
            WHEN line_kind IN ('one_time', 'setup_fee') THEN 'one_time'
            WHEN line_kind IN ('adjustment', 'refund') THEN line_kind
            ELSE 'usage'
        END AS family
    FROM invoice_lines
)
SELECT
    date_trunc('month', invoices.issued_at AT TIME ZONE 'UTC')::DATE AS "month",
    invoices.product_id,
    invoices.currency,
    invoices.synthetic,
    coalesce(sum(lines.amount) FILTER (WHERE lines.family = 'recurring'), 0) AS recurring_amount,
    coalesce(sum(lines.amount) FILTER (WHERE lines.family = 'one_time'), 0) AS one_time_amount,
    coalesce(sum(lines.amount) FILTER (WHERE lines.family = 'usage'), 0) AS usage_amount,
    coalesce(sum(lines.amount) FILTER (WHERE lines.family = 'adjustment'), 0) AS adjustment_amount,
    coalesce(sum(lines.amount) FILTER (WHERE lines.family = 'refund'), 0) AS refund_amount,
    coalesce(sum(lines.amount), 0) AS total,
    count(DISTINCT invoices.invoice_id) AS invoices,
    count(DISTINCT invoices.subscription_id) AS subscriptions
FROM invoices
LEFT JOIN lines ON lines.invoice_id = invoices.invoice_id
WHERE invoices.invoice_id NOT IN (SELECT voids FROM invoices WHERE voids IS NOT NULL)
GROUP BY "month", invoices.product_id, invoices.currency, invoices.synthetic;
