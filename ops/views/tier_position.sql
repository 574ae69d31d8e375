-- Where each subscription, charge and period stands: its usage so far and the tier that usage lies in.
-- Tier 0 is included free usage. A line ending exactly at a tier's bound lies in the lower tier, hence the least.
CREATE VIEW tier_position AS
WITH totals AS (
    SELECT
        subscription_id,
        product_id,
        product_version,
        charge_id,
        price_model,
        currency,
        period_start,
        period_end,
        sum(usage_after - usage_before) FILTER (WHERE line_kind = 'usage') AS usage,
        sum(amount) AS amount,
        max(event_time) AS event_time_last
    FROM line_items
    WHERE line_kind NOT IN ('trial', 'blocked')
    GROUP BY ALL
)
SELECT
    totals.subscription_id,
    totals.product_id,
    totals.product_version,
    totals.charge_id,
    totals.price_model,
    totals.currency,
    totals.period_start,
    totals.period_end,
    totals.usage,
    min(line_items.tier) AS tier,
    totals.amount,
    totals.event_time_last
FROM totals
LEFT JOIN line_items
    ON line_items.line_kind = 'usage'
    AND line_items.subscription_id = totals.subscription_id
    AND line_items.product_id = totals.product_id
    AND line_items.product_version = totals.product_version
    AND line_items.charge_id = totals.charge_id
    AND line_items.period_start = totals.period_start
    AND line_items.usage_after = totals.usage
GROUP BY ALL;
