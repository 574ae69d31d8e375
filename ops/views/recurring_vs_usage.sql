-- Which share of what was invoiced are recurring fees, and which usage, per month of issue (UTC), product and currency;
-- what was simulated apart.
-- Usage takes in spend and adjustments, fees their prorations; one-time fees and refunds count for neither. Shares are
-- counted in units of 0.000001, so no float is needed, and sum to 1; NULL where either is negative, or both are 0.
CREATE VIEW recurring_vs_usage AS
WITH lines AS (
    SELECT
        date_trunc('month', invoices.issued_at AT TIME ZONE 'UTC')::DATE AS "month",
        invoices.product_id,
        invoices.currency,
        invoices.synthetic,
        lines.amount,
        lines.line_kind IN ('recurring_fee', 'proration') AS is_recurring
    FROM invoices
    JOIN invoice_lines AS lines ON lines.invoice_id = invoices.invoice_id
    WHERE
        lines.line_kind NOT IN ('one_time', 'setup_fee', 'refund')
        AND invoices.invoice_id NOT IN (SELECT voids FROM invoices WHERE voids IS NOT NULL)
),
families AS (
    SELECT
        "month",
        product_id,
        currency,
        synthetic,
        coalesce(sum(amount) FILTER (WHERE is_recurring), 0) AS recurring_amount,
        coalesce(sum(amount) FILTER (WHERE NOT is_recurring), 0) AS usage_amount,
        sum(amount) AS total
    FROM lines
    GROUP BY "month", product_id, currency, synthetic
),
counted AS (
    -- A rounded amount has at most 4 digits (the minor units of UYW and CLF), so nothing is lost here.
    SELECT
        *,
        (recurring_amount::DECIMAL(38, 4) * 10000)::HUGEINT AS recurring_units,
        (total::DECIMAL(38, 4) * 10000)::HUGEINT AS total_units
    FROM families
),
shared AS (
    SELECT
        *,
        CASE WHEN recurring_amount >= 0 AND usage_amount >= 0 AND total > 0 THEN
            (recurring_units * 2000000 + total_units) // (total_units * 2)
        END AS shares
    FROM counted
)
SELECT
    "month",
    product_id,
    currency,
    synthetic,
    recurring_amount,
    usage_amount,
    total,
    (shares::DECIMAL(32, 0) * 0.000001::DECIMAL(6, 6))::DECIMAL(38, 6) AS recurring_share,
    ((1000000 - shares)::DECIMAL(32, 0) * 0.000001::DECIMAL(6, 6))::DECIMAL(38, 6) AS usage_share
FROM shared;
