-- One order as the service places it: the same four round trips with the same statements, texts
-- as in src/adapters/postgres/lock_repo.rs and record.sql. Three things differ, because
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
), claimed AS MATERIALIZED (
  SELECT (array_agg(resource_id))[1] AS order_id, (array_agg(user_id))[1] AS buyer_id,
         CASE WHEN count(*) < cardinality(ARRAY[1])
              THEN coalesce(array_agg(resource_id), '{}') END AS ids
  FROM ours
)
SELECT c.order_id, c.buyer_id,
       (l.sale).id, (l.sale).name, (l.sale).sku, (l.sale).unit_price, (l.sale).stock,
       (l.sale).stock_initial, (l.sale).per_user_limit, (l.sale).starts_at,
       (l.sale).ends_at, (l.sale).sold_out_at, (l.sale).order_count,
       (l.sale).created_at, coalesce(l.ids, '{}') AS ids,
       (coalesce(l.balances, '{}'))[1] AS balance,
       (coalesce(l.entry_counts, '{}'))[1] AS entry_count,
       coalesce(l.units_bought, '{}') AS units_bought, l.asked_at,
       l.sale_locked_at, l.locked_at AS now
FROM claimed c
CROSS JOIN LATERAL lock_for_orders(CASE WHEN c.ids IS NULL THEN :sale_id::uuid END,
                                   CASE WHEN c.ids IS NULL
                                        THEN ARRAY[c.buyer_id]::uuid[] END) AS l
\gset

\set sequence :order_count + 1
\set stock_after :stock - 1
\set number :entry_count + 1
\set balance_after :balance - :unit_price
\set debit 0 - :unit_price

WITH sold AS (
  UPDATE sales SET stock = :stock_after::integer, order_count = :sequence::bigint,
                   sold_out_at = NULL::timestamptz
  WHERE id = :sale_id::uuid AND order_count = :order_count::bigint
  RETURNING 1
), moved AS (
  UPDATE wallets w
  SET balance = n.balance, entry_count = n.entry_count, updated_at = :now::timestamptz
  FROM unnest(ARRAY[:buyer_id]::uuid[], ARRAY[:balance_after]::numeric[],
              ARRAY[:number]::bigint[], ARRAY[:entry_count]::bigint[])
    AS n (user_id, balance, entry_count, entry_count_before)
  WHERE w.user_id = n.user_id AND w.entry_count = n.entry_count_before
    AND (SELECT count(*) FROM sold) = 1
  RETURNING 1
), new_orders AS (
  INSERT INTO orders (id, user_id, sale_id, sequence, quantity, unit_price, total,
                      balance_after, reference, created_at, entry_number)
  SELECT o.id, o.user_id, :sale_id::uuid, o.sequence, o.quantity, :unit_price::numeric, o.total,
         o.balance_after, o.reference, o.created_at, o.entry_number
  FROM unnest(ARRAY[:order_id]::uuid[], ARRAY[:buyer_id]::uuid[], ARRAY[:sequence]::bigint[],
              ARRAY[1]::integer[], ARRAY[:unit_price]::numeric[],
              ARRAY[:balance_after]::numeric[], ARRAY[NULL]::text[], ARRAY[:now]::timestamptz[],
              ARRAY[:number]::bigint[])
    AS o (id, user_id, sequence, quantity, total, balance_after, reference, created_at,
          entry_number)
  WHERE (SELECT count(*) FROM moved) = cardinality(ARRAY[:buyer_id]::uuid[])
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
  WHERE (SELECT count(*) FROM moved) = cardinality(ARRAY[:buyer_id]::uuid[])
  RETURNING 1
)
SELECT (SELECT count(*) FROM sold) AS sales,
       (SELECT count(*) FROM moved) AS wallets,
       (SELECT count(*) FROM new_orders) AS orders,
       (SELECT count(*) FROM new_entries) AS entries;

COMMIT;
