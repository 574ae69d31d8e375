-- Amount per product version, charge and currency; one currency is never added to another, and what
-- was simulated never to what was used.
CREATE VIEW revenue_by_product AS
SELECT
    product_id,
    product_version,
    charge_id,
    currency,
    synthetic,
    count(DISTINCT subscription_id) AS subscriptions,
    count(*) AS lines,
    sum(amount) AS amount
FROM line_items
WHERE line_kind <> 'blocked'
GROUP BY ALL;
