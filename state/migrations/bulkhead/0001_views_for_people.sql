-- Views for people: the newest first, times as ISO 8601 text (UTC), money as it is stored (exact text).
CREATE VIEW v_orders AS
SELECT o.client_order_id, o.product_id, o.purpose, o.side, o.status, o.base_size, o.limit_price, o.booked_size, o.seen_price,
       o.reason, o.cancel_reason, o.venue_order_id, i.strategy, i.trigger, i.reason AS decided_because, i.config_hash,
       strftime('%Y-%m-%dT%H:%M:%fZ', i.saved_s, 'unixepoch') AS saved_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', o.updated_s, 'unixepoch') AS updated_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', o.ended_s, 'unixepoch') AS ended_at
FROM orders o LEFT JOIN intents i ON i.client_order_id = o.client_order_id
ORDER BY i.saved_s DESC;

CREATE VIEW v_fills AS
SELECT strftime('%Y-%m-%dT%H:%M:%fZ', f.at_s, 'unixepoch') AS at, f.product_id, f.side, f.base_size, f.price, f.fee_usd,
       f.liquidity, f.kind, f.client_order_id, f.position_id, f.trade_id, f.entry_id
FROM fills f ORDER BY f.at_s DESC;

CREATE VIEW v_positions AS
SELECT p.product_id, p.strategy, p.booked_size, p.average_price, p.cost_usd, p.fees_usd, p.realised_usd, p.outcome,
       p.stop_pct, p.target_pct, p.trailing_pct, p.tightened_stop_price, p.adopted_by,
       strftime('%Y-%m-%dT%H:%M:%fZ', p.opened_s, 'unixepoch') AS opened_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', p.closed_s, 'unixepoch') AS closed_at, p.position_id
FROM positions p ORDER BY p.opened_s DESC;

CREATE VIEW v_closes AS
SELECT strftime('%Y-%m-%dT%H:%M:%fZ', c.at_s, 'unixepoch') AS at, c.product_id, c.base_size, c.realised_usd, c.position_id
FROM closes c ORDER BY c.at_s DESC;

CREATE VIEW v_cooldowns AS
SELECT c.product_id, c.kind, c.reason, c.by, strftime('%Y-%m-%dT%H:%M:%fZ', c.since_s, 'unixepoch') AS since,
       strftime('%Y-%m-%dT%H:%M:%fZ', c.until_s, 'unixepoch') AS until
FROM cooldowns c WHERE c.live = 1 ORDER BY c.until_s;
