-- One order as the service places it: the same six round trips with the same statements, texts
-- as in src/adapters/postgres/{key,sale,wallet,order}_repo.rs. Three things differ, because
-- pgbench has no arrays, ids or typed parameters of its own: arrays are written ARRAY[…] and read
-- by place, ids are made by the server (setup.sql), and parameters are cast where the driver would
-- name their type.
\set buyer random(1, :buyers)
BEGIN ISOLATION LEVEL READ COMMITTED;

WITH ours AS (
  INSERT INTO idempotency_keys (key, user_id, operation, fingerprint, resource_id)
  SELECT * FROM unnest(ARRAY[gen_random_uuid()::text]::text[], ARRAY[bench_buyer(:buyer)]::uuid[],
                       ARRAY['order']::text[], ARRAY[decode(repeat('00', 32), 'hex')]::bytea[],
                       ARRAY[bench_new_id()]::uuid[])
  ON CONFLICT DO NOTHING
  RETURNING resource_id, user_id
)
SELECT (array_agg(resource_id))[1] AS order_id, (array_agg(user_id))[1] AS buyer_id FROM ours
\gset

SELECT id, name, sku, unit_price, stock, stock_initial, per_user_limit, starts_at,
       ends_at, sold_out_at, order_count, created_at
FROM sales WHERE id = :sale_id::uuid FOR NO KEY UPDATE
\gset

WITH locked AS MATERIALIZED (
  SELECT user_id, balance, entry_count FROM wallets
  WHERE user_id = ANY (ARRAY[:buyer_id]::uuid[]) ORDER BY user_id FOR NO KEY UPDATE
), buyers AS MATERIALIZED (
  SELECT array_agg(user_id) AS ids, array_agg(balance) AS balances,
         array_agg(entry_count) AS entry_counts,
         array_agg(CASE WHEN NOT :limited::boolean THEN 0
                        ELSE (SELECT coalesce(sum(o.quantity), 0) FROM orders o
                              WHERE o.user_id = locked.user_id AND o.sale_id = :sale_id::uuid)
                        END) AS units_bought
  FROM locked
)
SELECT ids, balances[1] AS balance, entry_counts[1] AS entry_count, units_bought,
       clock_timestamp() AS now
FROM buyers
\gset

\set sequence :order_count + 1
\set stock_after :stock - 1
\set number :entry_count + 1
\set balance_after :balance - :unit_price
\set debit 0 - :unit_price

WITH new_orders AS (
  INSERT INTO orders (id, user_id, sale_id, sequence, quantity, unit_price, total,
                      balance_after, reference, created_at)
  SELECT o.id, o.user_id, :sale_id::uuid, o.sequence, o.quantity, :unit_price::numeric, o.total,
         o.balance_after, o.reference, o.created_at
  FROM unnest(ARRAY[:order_id]::uuid[], ARRAY[:buyer_id]::uuid[], ARRAY[:sequence]::bigint[],
              ARRAY[1]::integer[], ARRAY[:unit_price]::numeric[],
              ARRAY[:balance_after]::numeric[], ARRAY[NULL]::text[], ARRAY[:now]::timestamptz[])
    AS o (id, user_id, sequence, quantity, total, balance_after, reference, created_at)
  RETURNING 1
), new_entries AS (
  INSERT INTO ledger_entries (id, user_id, number, type, amount, balance_after,
                              order_id, reference, created_at)
  SELECT e.id, e.user_id, e.number, 'order', e.amount, e.balance_after,
         e.order_id, e.reference, e.created_at
  FROM unnest(ARRAY[gen_random_uuid()]::uuid[], ARRAY[:buyer_id]::uuid[],
              ARRAY[:number]::bigint[], ARRAY[:debit]::numeric[],
              ARRAY[:balance_after]::numeric[], ARRAY[:order_id]::uuid[],
              ARRAY[NULL]::text[], ARRAY[:now]::timestamptz[])
    AS e (id, user_id, number, amount, balance_after, order_id, reference, created_at)
  RETURNING 1
), moved AS (
  UPDATE wallets w
  SET balance = n.balance, entry_count = n.entry_count, updated_at = :now::timestamptz
  FROM unnest(ARRAY[:buyer_id]::uuid[], ARRAY[:balance_after]::numeric[],
              ARRAY[:number]::bigint[], ARRAY[:entry_count]::bigint[])
    AS n (user_id, balance, entry_count, entry_count_before)
  WHERE w.user_id = n.user_id AND w.entry_count = n.entry_count_before
  RETURNING 1
), sold AS (
  UPDATE sales SET stock = :stock_after::integer, order_count = :sequence::bigint,
                   sold_out_at = NULL::timestamptz
  WHERE id = :sale_id::uuid AND order_count = :order_count::bigint
  RETURNING 1
)
SELECT (SELECT count(*) FROM new_orders) AS orders,
       (SELECT count(*) FROM new_entries) AS entries,
       (SELECT count(*) FROM moved) AS wallets,
       (SELECT count(*) FROM sold) AS sales;

COMMIT;
