-- The lines of all invoices that were not voided as charges of FOCUS 1.2, the FinOps Open Cost and Usage Specification:
-- its columns by its names, alphabetically, then our own (`x_`). docs/ledger.md says which are left out, and why.
CREATE VIEW focus_charges AS
WITH lines AS (
    SELECT
        lines.*,
        invoices.number,
        invoices.subscriber,
        invoices.recipient::JSON AS recipient,
        invoices.period_end AS invoice_end,
        coalesce(lines.adjusts, lines.line_kind) AS kind,
        coalesce(lines.adjusts, lines.line_kind) = 'recurring_fee' AS is_fee,
        -- An invoice is issued at the end of its period, which is no part of that period any more.
        date_trunc('month', (invoices.issued_at - CASE invoices.period
            WHEN 0 THEN INTERVAL 0 MICROSECONDS ELSE INTERVAL 1 MICROSECOND
        END) AT TIME ZONE 'UTC') AS billing_month
    FROM invoice_lines AS lines
    JOIN invoices ON invoices.invoice_id = lines.invoice_id
    WHERE invoices.invoice_id NOT IN (SELECT voids FROM invoices WHERE voids IS NOT NULL)
),
first_invoiced AS (
    SELECT subscription_id, period, is_fee, min(billing_month) AS billing_month
    FROM lines
    WHERE line_kind NOT IN ('adjustment', 'proration', 'refund')
    GROUP BY subscription_id, period, is_fee
),
charges AS (
    SELECT
        lines.*,
        CASE
            WHEN kind IN ('one_time', 'setup_fee', 'recurring_fee') THEN 'Purchase'
            WHEN kind IN ('minimum_spend', 'maximum_spend', 'refund') THEN 'Adjustment'
            ELSE 'Usage'
        END AS category,
        -- What no price times a quantity explains is priced as one.
        CASE
            WHEN unit_price < 0 THEN -quantity
            WHEN unit_price IS NOT NULL THEN quantity
            WHEN exact_amount < 0 THEN -1::DECIMAL(38, 6)
            ELSE 1::DECIMAL(38, 6)
        END AS priced_quantity,
        coalesce(abs(unit_price)::DECIMAL(38, 18), abs(exact_amount)) AS price,
        coalesce(first_invoiced.billing_month, date_trunc(
            'month', (lines.period_end - INTERVAL 1 MICROSECOND) AT TIME ZONE 'UTC'
        )) AS corrected_month
    FROM lines
    LEFT JOIN first_invoiced
        ON first_invoiced.subscription_id = lines.subscription_id
        AND first_invoiced.period = lines.period
        AND first_invoiced.is_fee = lines.is_fee
)
SELECT
    amount AS BilledCost,
    coalesce(organization_id, subscriber) AS BillingAccountId,
    CASE WHEN organization_id IS NULL THEN recipient->>'$.subscriber.name' ELSE recipient->>'$.organization.name' END
        AS BillingAccountName,
    CASE WHEN organization_id IS NULL THEN 'Subscriber' ELSE 'Organization' END AS BillingAccountType,
    currency AS BillingCurrency,
    (billing_month + INTERVAL 1 MONTH) AT TIME ZONE 'UTC' AS BillingPeriodEnd,
    billing_month AT TIME ZONE 'UTC' AS BillingPeriodStart,
    category AS ChargeCategory,
    CASE
        WHEN line_kind = 'refund' THEN 'Correction'
        WHEN line_kind IN ('adjustment', 'proration') AND corrected_month < billing_month THEN 'Correction'
    END AS ChargeClass,
    description AS ChargeDescription,
    CASE
        WHEN kind IN ('one_time', 'setup_fee', 'refund') THEN 'One-Time'
        WHEN kind IN ('recurring_fee', 'minimum_spend') THEN 'Recurring'
        ELSE 'Usage-Based'
    END AS ChargeFrequency,
    -- What falls on one moment is charged for its day, as FOCUS records one-time charges.
    CASE WHEN period_start = period_end
        THEN (date_trunc('day', period_start AT TIME ZONE 'UTC') + INTERVAL 1 DAY) AT TIME ZONE 'UTC'
        ELSE coalesce(period_end, invoice_end)
    END AS ChargePeriodEnd,
    CASE WHEN period_start = period_end
        THEN date_trunc('day', period_start AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
        ELSE period_start
    END AS ChargePeriodStart,
    -- Lines that carry an amount, or a price that changed, consume nothing more than the lines of usage say.
    CASE WHEN category = 'Usage' THEN CASE kind WHEN 'usage' THEN quantity ELSE 0::DECIMAL(38, 6) END END
        AS ConsumedQuantity,
    CASE WHEN category = 'Usage' AND (kind <> 'usage' OR quantity IS NOT NULL) THEN 'Units' END AS ConsumedUnit,
    CASE WHEN category = 'Adjustment' THEN amount ELSE exact_amount END AS ContractedCost,
    CASE WHEN category <> 'Adjustment' THEN price END AS ContractedUnitPrice,
    amount AS EffectiveCost,
    invoice_id AS InvoiceId,
    coalesce(getvariable('provider_name')::VARCHAR, 'Ratemill') AS InvoiceIssuerName,
    CASE WHEN category = 'Adjustment' THEN amount ELSE exact_amount END AS ListCost,
    CASE WHEN category <> 'Adjustment' THEN price END AS ListUnitPrice,
    CASE WHEN category <> 'Adjustment' THEN 'Standard' END AS PricingCategory,
    CASE WHEN category <> 'Adjustment' THEN priced_quantity END AS PricingQuantity,
    CASE
        WHEN category = 'Adjustment' THEN NULL
        WHEN kind NOT IN ('usage', 'reprice') THEN 'Fees'
        WHEN unit_price IS NULL THEN 'Lots'
        ELSE 'Units'
    END AS PricingUnit,
    coalesce(getvariable('provider_name')::VARCHAR, 'Ratemill') AS ProviderName,
    coalesce(getvariable('provider_name')::VARCHAR, 'Ratemill') AS PublisherName,
    'Other' AS ServiceCategory,
    product_id AS ServiceName,
    'Other (Other)' AS ServiceSubcategory,
    -- A product's id holds no @, a version neither, and a kind no colon: two things never share an id.
    product_id || '@' || CASE WHEN charge_id IS NULL THEN 'fee:' || kind ELSE 'charge:' || charge_id END AS SkuId,
    coalesce(charge_id, kind) AS SkuMeter,
    CASE WHEN charge_id IS NOT NULL AND tier IS NOT NULL
        THEN json_object('x_PriceModel', price_model, 'x_LineKind', kind, 'x_Tier', tier)
        ELSE json_object('x_LineKind', kind)
    END AS SkuPriceDetails,
    product_id || '@' || product_version || '@'
        || CASE
            WHEN charge_id IS NULL THEN 'fee:' || kind
            ELSE 'charge:' || kind || ':' || coalesce(tier, 0) || ':' || charge_id
        END AS SkuPriceId,
    subscription_id AS SubAccountId,
    subscription_id AS SubAccountName,
    CASE WHEN recipient->>'$.organization.metadata' <> '{}' THEN recipient->'$.organization.metadata' END AS Tags,
    invoice_line_id AS x_InvoiceLineId,
    number AS x_InvoiceNumber,
    line_kind AS x_LineKind,
    exact_amount AS x_ExactCost,
    synthetic AS x_Synthetic
FROM charges;
