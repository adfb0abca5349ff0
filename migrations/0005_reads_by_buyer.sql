-- What is read under the lock of a hot sale is read by the buyer, never by the sale.
--
-- Units bought were looked for by buyer and sale. The plan is kept, and a planner that knows only the
-- average sale may well join the buyer's index with the sale's: then the whole index of the hot sale is
-- read once for each buyer who has ever bought, under its lock. With 60,000 orders in it that was four
-- seconds for a group of 1,024. A buyer's own orders are few, whatever the sale.

SET LOCAL lock_timeout = '1s';

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
                          -- By the buyer alone: see above.
                          ELSE (SELECT coalesce(sum(o.quantity) FILTER (WHERE o.sale_id = of_sale), 0)
                                FROM orders o WHERE o.user_id = l.user_id)
                     END)
    INTO ids, balances, entry_counts, units_bought
    FROM locked l;
    locked_at := clock_timestamp();
END $$;

-- All orders of a statement are of one sale, so it is looked up once and not once for each row: while
-- somebody keeps an old snapshot, its row has a long chain of versions, and each look-up walks it.
CREATE OR REPLACE FUNCTION orders_refer() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
    IF (SELECT bool_and(coalesce((SELECT true FROM wallets r WHERE r.user_id = w.user_id), false))
        FROM written w) IS FALSE
    OR (SELECT bool_and(coalesce((SELECT true FROM sales r WHERE r.id = w.sale_id), false))
        FROM (SELECT DISTINCT sale_id FROM written) w) IS FALSE THEN
        RAISE EXCEPTION 'an order names a wallet or a sale that does not exist'
            USING ERRCODE = 'foreign_key_violation', TABLE = 'orders';
    END IF;
    RETURN NULL;
END $$;
