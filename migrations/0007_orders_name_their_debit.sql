-- Two indexes less for each order, and the same promises (docs/adr/0016-two-indexes-less.md).
--
-- One debit for each order was a unique index on ledger_entries (order_id). Now an order says which
-- number its debit has in the wallet, and an entry is refused that is not the one its order names:
-- (user_id, number) is the ledger's primary key, so there is no place for a second.
--
-- And what a buyer has ordered is found along the wallet's ledger, which has it in the order in
-- which it was decided. So nobody needs orders (user_id, id), which the next migration drops.

SET LOCAL lock_timeout = '1s';

-- NULL in orders of before, and in those that an older version writes beside a newer one.
ALTER TABLE orders ADD COLUMN entry_number bigint;
COMMENT ON COLUMN orders.entry_number IS
    'The number of its debit in the wallet''s ledger; NULL in orders from before migration 7.';

-- By the order's primary key, as before. For an order that names no number the wallet's entries are
-- looked through.
CREATE OR REPLACE FUNCTION ledger_entries_refer() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
    IF (SELECT bool_and(coalesce(
               CASE WHEN w.order_id IS NULL
                    THEN (SELECT true FROM wallets r WHERE r.user_id = w.user_id)
                    ELSE (SELECT r.user_id = w.user_id
                             AND CASE WHEN r.entry_number IS NOT NULL
                                      THEN r.entry_number = w.number
                                      ELSE NOT EXISTS (
                                          SELECT FROM ledger_entries x
                                          WHERE x.user_id = w.user_id AND x.order_id = w.order_id
                                            AND x.number <> w.number)
                                 END
                          FROM orders r WHERE r.id = w.order_id)
               END, false))
        FROM written w) IS FALSE THEN
        RAISE EXCEPTION
            'a ledger entry names a wallet that does not exist, or is not the debit of its order'
            USING ERRCODE = 'foreign_key_violation', TABLE = 'ledger_entries';
    END IF;
    RETURN NULL;
END $$;

-- As in migration 5, but for where units bought are looked for: among the entries of the wallet, and
-- of these only among those since the sale began, because no order is older than its sale's window
-- (migration 5 says why never by the sale; each order by its primary key, for the same reason).
CREATE OR REPLACE FUNCTION lock_for_orders(
    IN  of_sale        uuid,
    IN  of_users       uuid[],
    -- The sale's row as the lock found it; NULL when there is no such sale.
    OUT sale           sales,
    -- Of those users that have a wallet, ascending.
    OUT ids            uuid[],
    OUT balances       numeric[],
    OUT entry_counts   bigint[],
    -- Of the sale; 0 where it has no limit.
    OUT units_bought   bigint[],
    -- The clock before the first lock, behind the sale's, and behind the last wallet's.
    OUT asked_at       timestamptz,
    OUT sale_locked_at timestamptz,
    OUT locked_at      timestamptz
) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    asked_at := clock_timestamp();
    -- Not FOR UPDATE: other deciders are kept out, checks of references are not.
    SELECT s.* INTO sale FROM sales s WHERE s.id = of_sale FOR NO KEY UPDATE;
    sale_locked_at := clock_timestamp();
    WITH locked AS MATERIALIZED (
        SELECT w.user_id, w.balance, w.entry_count FROM wallets w
        WHERE w.user_id = ANY (of_users) ORDER BY w.user_id FOR NO KEY UPDATE
    )
    SELECT array_agg(l.user_id), array_agg(l.balance), array_agg(l.entry_count),
           array_agg(CASE WHEN sale.per_user_limit IS NULL THEN 0
                          ELSE (SELECT coalesce(sum(
                                           (SELECT CASE WHEN o.sale_id = of_sale THEN o.quantity END
                                            FROM orders o WHERE o.id = e.order_id)), 0)
                                FROM ledger_entries e
                                WHERE e.user_id = l.user_id AND e.order_id IS NOT NULL
                                  AND e.created_at >= sale.starts_at)
                     END)
    INTO ids, balances, entry_counts, units_bought
    FROM locked l;
    locked_at := clock_timestamp();
END $$;

-- unused since 0.1: the trigger above keeps what this constraint kept.
ALTER TABLE ledger_entries DROP CONSTRAINT ledger_entries_order_id_key;
