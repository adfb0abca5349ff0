-- Sale and wallets of a group of orders, locked and read in one call: one round trip under the hot row
-- instead of two (docs/adr/0015-locks-in-one-call.md). It decides nothing and writes nothing.
--
-- VOLATILE and PL/pgSQL, and both matter: at READ COMMITTED each statement of such a function has a
-- snapshot of its own, so what is read behind the sale's lock is younger than the wait for it. In a
-- function of LANGUAGE sql all statements share one snapshot, and a limit per user would not see the
-- orders that the wait was for.

CREATE FUNCTION lock_for_orders(
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
                          ELSE (SELECT coalesce(sum(o.quantity), 0) FROM orders o
                                WHERE o.user_id = l.user_id AND o.sale_id = of_sale)
                     END)
    INTO ids, balances, entry_counts, units_bought
    FROM locked l;
    locked_at := clock_timestamp();
END $$;
