"""What settlement asks of a ledger: statements over its tables, and over what a look registers beside them."""

# What a voided invoice said counts no more, nor what one says that is about to be voided.
VOIDED = """
    CREATE VIEW voided AS SELECT voids FROM invoices WHERE voids IS NOT NULL UNION ALL SELECT invoice_id FROM replaced
"""
STANDING = """
    CREATE VIEW standing_lines AS SELECT * FROM invoice_lines WHERE invoice_id NOT IN (SELECT voids FROM voided)
"""
SUMMED = """
    WITH own AS NOT MATERIALIZED ({line_items}), summed AS NOT MATERIALIZED (
        SELECT
            subscription_id, product_id, product_version, charge_id, line_kind, tier, period_start, currency,
            credential_id, bool_or(synthetic) AS synthetic, sum(quantity) AS quantity,
            sum(usage_after - usage_before) AS usage, min(unit_price) AS unit_price_least,
            max(unit_price) AS unit_price_most, sum(amount) AS amount
        FROM own WHERE line_kind NOT IN ('trial', 'blocked') GROUP BY ALL
    )
    SELECT due.subscription, s.* EXCLUDE (subscription_id) FROM summed AS s JOIN due USING (subscription_id)
"""
INVOICED = """
    SELECT
        due.subscription, l.period, coalesce(l.adjusts, l.line_kind) AS line_kind, l.product_id, l.product_version,
        l.charge_id, l.tier, l.currency, sum(l.quantity) AS quantity, sum(l.exact_amount) AS exact_amount,
        sum(l.amount) AS amount
    FROM standing_lines AS l JOIN due USING (subscription_id)
    GROUP BY ALL
"""
SETTLED = """
    SELECT subscription_id, max(period) AS period, arg_max(period_start, period) AS period_start,
        arg_max(period_end, period) AS period_end
    FROM settled_periods WHERE outcome <> 'waiting' GROUP BY subscription_id
"""
WAITING = """
    SELECT DISTINCT subscription_id, period, reason, reason_detail FROM settled_periods WHERE outcome = 'waiting'
"""
# Subscriptions that have ended: those whose line items, or prepaid fees, are not what invoices say of them, or that get
# a refund. Flat amounts at zero usage have no line items, so that theirs are always looked at.
AFTERWARDS = """
    SELECT coalesce(owed.subscription, said.subscription) AS subscription
    FROM (
        SELECT ended.subscription, sum(l.amount) AS amount
        FROM line_items AS l JOIN ended USING (subscription_id)
        WHERE l.line_kind NOT IN ('trial', 'blocked') AND l.period_start < ended.ended_at
        GROUP BY ALL
    ) AS owed FULL JOIN (
        SELECT ended.subscription,
            sum(l.exact_amount) FILTER (WHERE list_contains($summed, coalesce(l.adjusts, l.line_kind))) AS amount,
            sum(l.exact_amount) FILTER (
                WHERE coalesce(l.adjusts, l.line_kind) IN ('recurring_fee', 'setup_fee', 'one_time')
                    AND l.period_start >= ended.ended_at
            ) AS prepaid
        FROM standing_lines AS l JOIN ended USING (subscription_id)
        GROUP BY ALL
    ) AS said USING (subscription)
    WHERE coalesce(owed.amount, 0) <> coalesce(said.amount, 0) OR coalesce(said.prepaid, 0) <> 0
    UNION
    SELECT ended.subscription
    FROM refunds AS r
    JOIN invoices AS i ON i.invoice_id = r.invoice
    JOIN ended USING (subscription_id)
    WHERE r.refund NOT IN (SELECT refund_id FROM standing_lines WHERE refund_id IS NOT NULL)
    ORDER BY ALL
"""
REVISIONS = """
    SELECT a.subscription, a.number, 1 + coalesce(max(i.revision), 0) AS revision
    FROM asked AS a LEFT JOIN invoices AS i ON i.subscription_id = a.subscription_id AND i.period = a.number + 1
    GROUP BY ALL ORDER BY ALL
"""
REFUNDED = """
    SELECT i.invoice_id, i.subscription_id, i.currency,
        CASE WHEN i.invoice_id IN (SELECT voids FROM voided) THEN 0 ELSE i.total END AS total,
        coalesce(sum(-l.amount), 0) AS refunded
    FROM invoices AS i
    LEFT JOIN standing_lines AS l ON l.refunded_invoice_id = i.invoice_id AND l.invoice_id <> i.invoice_id
    WHERE i.invoice_id IN (SELECT invoice FROM refunds)
    GROUP BY ALL
"""
REFUNDS_DONE = """
    SELECT refund_id, subscription_id, refunded_invoice_id, -exact_amount
    FROM standing_lines WHERE refund_id IS NOT NULL
"""
SETUP = """
    SELECT organization_id, product_id, min(subscription_id) FROM (
        SELECT organization_id, product_id, subscription_id FROM standing_lines
        WHERE coalesce(adjusts, line_kind) = 'setup_fee' AND organization_id IS NOT NULL
        GROUP BY ALL HAVING sum(amount) <> 0
    ) GROUP BY ALL
"""
COUNTED = """
    CREATE VIEW counted AS SELECT source, event_id, subscription_id, event_time, hash(source, event_id) AS hashed
    FROM events WHERE verdict IN ('rated', 'exempt', 'trial', 'blocked')
"""
COUNT = "SELECT count(*) FROM counted WHERE event_time >= make_timestamptz($since)"
HASHES = """
    SELECT hashed FROM counted
    WHERE event_time >= make_timestamptz($since) AND hashed BETWEEN $least::UBIGINT AND $most::UBIGINT
"""
RATED_TWICE = """
    SELECT subscription_id, min(source || '/' || event_id) AS event FROM (
        SELECT source, event_id, min(subscription_id) AS subscription_id FROM counted SEMI JOIN shared USING (hashed)
        WHERE event_time >= make_timestamptz($since)
        GROUP BY source, event_id HAVING count(*) > 1
    ) GROUP BY subscription_id
"""
COMMITS = """
    SELECT
        writer, max(sequence) AS sequence, arg_max(progress, sequence) AS progress,
        arg_max(offsets, sequence) AS offsets, arg_max(digest, sequence) AS digest,
        arg_max(catalog_digest, sequence) AS catalog_digest, sum(received) AS received, sum(events) AS events,
        sum(rated) AS rated, sum(exempt) AS exempt, sum(trial) AS trial, sum(blocked) AS blocked,
        sum(duplicate) AS duplicate, sum(parked) AS parked, sum(late) AS late, sum(rejected) AS rejected
    FROM commits WHERE flow = 'rating' GROUP BY writer ORDER BY writer
"""
STRANGERS = """
    SELECT subscription_id FROM (
        SELECT DISTINCT subscription_id FROM line_items UNION SELECT DISTINCT subscription_id FROM settled_periods
    ) ANTI JOIN known USING (subscription_id) ORDER BY ALL
"""
STRAY_REFUNDS = """
    SELECT r.refund FROM refunds AS r LEFT JOIN invoices AS i ON i.invoice_id = r.invoice
    WHERE (i.subscription_id IS NULL OR i.subscription_id NOT IN (SELECT subscription_id FROM known))
        AND r.refund NOT IN (SELECT refund_id FROM standing_lines WHERE refund_id IS NOT NULL)
    ORDER BY ALL
"""
