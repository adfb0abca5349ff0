-- The references of orders and ledger entries are checked once for each statement, not once for each
-- row. PostgreSQL's own foreign keys run one query for each new row and column: a third of what a
-- group of orders cost the database (docs/adr/0014-references-by-statement.md). The promise is the
-- same: no order without its wallet and sale, no entry without its wallet and order, whoever writes.
--
-- It is kept in two halves. What is referred to never goes away, and what refers is looked up when
-- it is written, by index, all rows of a statement together.

SET LOCAL lock_timeout = '1s';

CREATE FUNCTION books_rows_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% are kept for ever: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'integrity_constraint_violation',
              HINT = 'Orders and ledger entries refer to these rows.';
END $$;

CREATE TRIGGER wallets_stay BEFORE DELETE OR TRUNCATE OR UPDATE OF user_id ON wallets
    FOR EACH STATEMENT EXECUTE FUNCTION books_rows_stay();
CREATE TRIGGER sales_stay BEFORE DELETE OR TRUNCATE OR UPDATE OF id ON sales
    FOR EACH STATEMENT EXECUTE FUNCTION books_rows_stay();
CREATE TRIGGER orders_stay BEFORE DELETE OR TRUNCATE OR UPDATE OF id, user_id, sale_id ON orders
    FOR EACH STATEMENT EXECUTE FUNCTION books_rows_stay();

-- A look-up for each row, by index whatever the statistics say: a plan made while `orders` was empty
-- would otherwise read the whole table for every group until somebody analyses it. The path is the
-- migration's own, so that nobody can put another `wallets` in front.
CREATE FUNCTION orders_refer() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
    IF (SELECT bool_and(coalesce((SELECT true FROM wallets r WHERE r.user_id = w.user_id), false)
                    AND coalesce((SELECT true FROM sales r WHERE r.id = w.sale_id), false))
        FROM written w) IS FALSE THEN
        RAISE EXCEPTION 'an order names a wallet or a sale that does not exist'
            USING ERRCODE = 'foreign_key_violation', TABLE = 'orders';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER orders_refer AFTER INSERT ON orders REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION orders_refer();

CREATE FUNCTION ledger_entries_refer() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
    IF (SELECT bool_and(coalesce((SELECT true FROM wallets r WHERE r.user_id = w.user_id), false)
                    AND coalesce(w.order_id IS NULL
                                 OR (SELECT true FROM orders r WHERE r.id = w.order_id), false))
        FROM written w) IS FALSE THEN
        RAISE EXCEPTION 'a ledger entry names a wallet or an order that does not exist'
            USING ERRCODE = 'foreign_key_violation', TABLE = 'ledger_entries';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_entries_refer AFTER INSERT ON ledger_entries REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_entries_refer();

-- unused since 0.1: no version relies on a constraint that a trigger above keeps as well.
ALTER TABLE orders DROP CONSTRAINT orders_user_id_fkey, DROP CONSTRAINT orders_sale_id_fkey;
ALTER TABLE ledger_entries
    DROP CONSTRAINT ledger_entries_user_id_fkey, DROP CONSTRAINT ledger_entries_order_id_fkey;
