-- Writes what a decided group leaves behind: the sale, wallets, orders and debits. Each row is touched
-- once, and sale and wallets only in the version in which they were read. Used by order_repo.rs.
--
-- Each part waits for the one before it, so that also an engine that locks nothing first takes its
-- locks in the house's order: sale, wallets. Rows are inserted only behind them: who inserted first
-- would make others wait for a unique key while it waits for their wallet.
--
-- Whoever waits here, for a row or for the tables (which are locked first), may wait until it is too
-- late for one of the orders ($24). So the clock is read behind each wait, and nothing is inserted.
WITH sold AS (
  UPDATE sales SET stock = $19, order_count = $20, sold_out_at = $21
  WHERE id = $1 AND order_count = $22 AND stock = $23
  RETURNING clock_timestamp() >= coalesce($24::timestamptz, 'infinity') AS too_late
), moved AS (
  UPDATE wallets w
  SET balance = n.balance, entry_count = n.entry_count, updated_at = $18
  FROM unnest($14::uuid[], $15::numeric[], $16::bigint[], $17::bigint[])
    AS n (user_id, balance, entry_count, entry_count_before)
  WHERE w.user_id = n.user_id AND w.entry_count = n.entry_count_before
    AND (SELECT count(*) FROM sold WHERE NOT too_late) = 1
  RETURNING clock_timestamp() >= coalesce($24::timestamptz, 'infinity') AS too_late
), new_orders AS (
  INSERT INTO orders (id, user_id, sale_id, sequence, quantity, unit_price, total,
                      balance_after, reference, created_at, entry_number)
  SELECT o.id, o.user_id, $1, o.sequence, o.quantity, $2, o.total,
         o.balance_after, o.reference, o.created_at, o.entry_number
  FROM unnest($3::uuid[], $4::uuid[], $5::bigint[], $6::integer[], $7::numeric[],
              $8::numeric[], $9::text[], $10::timestamptz[], $12::bigint[])
    AS o (id, user_id, sequence, quantity, total, balance_after, reference, created_at,
          entry_number)
  WHERE (SELECT count(*) FROM moved WHERE NOT too_late) = cardinality($14)
  RETURNING 1
), new_entries AS (
  INSERT INTO ledger_entries (id, user_id, number, type, amount, balance_after,
                              order_id, reference, created_at)
  SELECT e.id, e.user_id, e.number, 'order', e.amount, e.balance_after,
         e.order_id, e.reference, e.created_at
  FROM unnest($11::uuid[], $4::uuid[], $12::bigint[], $13::numeric[], $8::numeric[],
              $3::uuid[], $9::text[], $10::timestamptz[])
    AS e (id, user_id, number, amount, balance_after, order_id, reference, created_at)
  WHERE (SELECT count(*) FROM moved WHERE NOT too_late) = cardinality($14)
  RETURNING 1
)
SELECT (SELECT count(*) FROM sold) AS "sales!",
       (SELECT count(*) FROM moved) AS "wallets!",
       (SELECT count(*) FROM new_orders) AS "orders!",
       (SELECT count(*) FROM new_entries) AS "entries!",
       (SELECT count(*) FROM sold WHERE too_late) + (SELECT count(*) FROM moved WHERE too_late)
         AS "too_late!"
