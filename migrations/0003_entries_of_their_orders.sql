-- An entry that pays for an order belongs to the order's own wallet: migration 2 asked only that both
-- exist. And one look-up less for each order (docs/adr/0014): the order has the entry's user and was
-- not written without its wallet, so only the wallet of a deposit is still looked up. By the order's
-- primary key, whose last pages are at hand: the condition on the user would choose another index.

SET LOCAL lock_timeout = '1s';

CREATE OR REPLACE FUNCTION ledger_entries_refer() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
    IF (SELECT bool_and(coalesce(
               CASE WHEN w.order_id IS NULL
                    THEN (SELECT true FROM wallets r WHERE r.user_id = w.user_id)
                    ELSE (SELECT r.user_id = w.user_id FROM orders r WHERE r.id = w.order_id)
               END, false))
        FROM written w) IS FALSE THEN
        RAISE EXCEPTION 'a ledger entry names a wallet that does not exist, or not an order of it'
            USING ERRCODE = 'foreign_key_violation', TABLE = 'ledger_entries';
    END IF;
    RETURN NULL;
END $$;
