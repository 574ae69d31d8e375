-- Usage and amount per subscription, charge and day (UTC day of the event's own time).
CREATE VIEW usage_by_day AS
SELECT
    (event_time AT TIME ZONE 'UTC')::DATE AS day,
    subscription_id,
    product_id,
    product_version,
    charge_id,
    currency,
    synthetic,
    count(DISTINCT (partition, "offset")) AS events,
    coalesce(sum(usage_after - usage_before) FILTER (WHERE line_kind = 'usage'), 0) AS usage,
    coalesce(sum(usage_after - usage_before) FILTER (WHERE line_kind = 'trial'), 0) AS trial_usage,
    sum(amount) AS amount
FROM line_items
WHERE line_kind <> 'blocked'
GROUP BY ALL;
