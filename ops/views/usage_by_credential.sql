-- Usage and amount per credential: usage is charged to the subscription and reported per credential.
-- Usage that named no credential has the credential NULL.
CREATE VIEW usage_by_credential AS
SELECT
    subscription_id,
    credential_id,
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
