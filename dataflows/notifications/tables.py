"""The tables of the store, as SQLite keeps them; moments are microseconds since 1970.

The rule: what is counted is counted by triggers, in the transaction of the change, so that a scrape reads three rows
and not three million. `tallies` of `delivered` counts all that ever were, also those that are no longer in the table.
"""

VERSION = 1
SCHEMA = """
CREATE TABLE topic (name TEXT NOT NULL, topic_id TEXT NOT NULL);

CREATE TABLE positions (partition INTEGER PRIMARY KEY, next_offset INTEGER NOT NULL);

CREATE TABLE malformed_records (
    partition INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    came_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    record BLOB,
    PRIMARY KEY (partition, offset)
);

CREATE TABLE notifications (
    number INTEGER PRIMARY KEY,
    notification_id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    occurred_at INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    came_at INTEGER NOT NULL,
    record BLOB NOT NULL
);
CREATE INDEX notifications_by_age ON notifications (came_at);

CREATE TABLE deliveries (
    delivery_id INTEGER PRIMARY KEY,
    notification INTEGER NOT NULL REFERENCES notifications (number),
    channel TEXT NOT NULL CHECK (channel IN ('mail', 'webhook', 'unknown')),
    recipient TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts INTEGER NOT NULL DEFAULT 0,
    came_at INTEGER NOT NULL,
    next_attempt_at INTEGER NOT NULL,
    give_up_at INTEGER NOT NULL,
    ended_at INTEGER,
    last_error TEXT,
    UNIQUE (notification, channel, recipient)
);
CREATE INDEX due_deliveries ON deliveries (endpoint, next_attempt_at) WHERE state = 'pending';
CREATE INDEX old_pending_deliveries ON deliveries (give_up_at) WHERE state = 'pending';
CREATE INDEX oldest_pending_deliveries ON deliveries (channel, came_at) WHERE state = 'pending';
CREATE INDEX failed_deliveries ON deliveries (ended_at) WHERE state = 'failed';
CREATE INDEX delivered_deliveries ON deliveries (ended_at) WHERE state = 'delivered';

CREATE TABLE tallies (
    channel TEXT NOT NULL,
    state TEXT NOT NULL,
    deliveries INTEGER NOT NULL,
    PRIMARY KEY (channel, state)
) WITHOUT ROWID;
INSERT INTO tallies
SELECT channel.column1, state.column1, 0
FROM (VALUES ('mail'), ('webhook'), ('unknown')) AS channel
CROSS JOIN (VALUES ('pending'), ('delivered'), ('failed')) AS state;

CREATE TRIGGER count_new AFTER INSERT ON deliveries BEGIN
    UPDATE tallies SET deliveries = deliveries + 1 WHERE channel = NEW.channel AND state = NEW.state;
END;
CREATE TRIGGER count_changed AFTER UPDATE OF state ON deliveries WHEN OLD.state <> NEW.state BEGIN
    UPDATE tallies SET deliveries = deliveries - 1 WHERE channel = OLD.channel AND state = OLD.state;
    UPDATE tallies SET deliveries = deliveries + 1 WHERE channel = NEW.channel AND state = NEW.state;
END;

CREATE VIEW dead_letters AS
SELECT partition, offset, NULL AS notification_id, NULL AS recipient, came_at AS ended_at, reason, record
FROM malformed_records
UNION ALL
SELECT partition, offset, notification_id, recipient, ended_at, last_error, record
FROM deliveries JOIN notifications ON number = notification
WHERE state = 'failed';
"""
