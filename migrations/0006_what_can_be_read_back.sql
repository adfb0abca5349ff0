-- What the program cannot read back is not stored, and an order stays as it was written.
--
-- A moment at infinity, or beyond the years that its calendar has, is none to the program: with one
-- such sale, made by hand, every list of sales failed. Nor is a text with control characters
-- (src/domain/text.rs): C0 and DEL, and C1 where letters have Unicode's numbers; in another encoding
-- a euro sign may stand there. Collation "C", because a locale has opinions of its own.
--
-- Sales and users only: on what each order writes a CHECK costs each order 5 microseconds.

SET LOCAL lock_timeout = '1s';

-- No CHECK: one is looked at whenever the row is written, whatever is written of it, so the sale's
-- update of every group would take 50 microseconds instead of 30; and a sale from before that has such
-- a value would sell no more. This looks when one of these columns is written, which no order does.
CREATE FUNCTION sales_readable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a sale has a moment outside of the years 1 to 9999 or a control character'
        USING ERRCODE = 'check_violation', TABLE = 'sales', CONSTRAINT = 'sales_readable';
END $$;
CREATE TRIGGER sales_readable AFTER INSERT OR UPDATE OF name, sku, starts_at, ends_at, created_at
    ON sales FOR EACH ROW WHEN (
        least(NEW.starts_at, NEW.created_at) < '0001-01-01 00:00:00+00'
        OR greatest(NEW.starts_at, NEW.ends_at, NEW.created_at) >= '10000-01-01 00:00:00+00'
        OR (NEW.name || coalesce(NEW.sku, '')) COLLATE "C" ~ CASE getdatabaseencoding()
            WHEN 'UTF8' THEN '[\u0001-\u001f\u007f-\u009f]' ELSE '[\u0001-\u001f\u007f]' END
    ) EXECUTE FUNCTION sales_readable();

-- NOT VALID, and not validated later: a user from before keeps nobody from upgrading.
ALTER TABLE users
    ADD CONSTRAINT users_created_at_readable CHECK (
        created_at >= '0001-01-01 00:00:00+00' AND created_at < '10000-01-01 00:00:00+00'
    ) NOT VALID,
    ADD CONSTRAINT users_texts_readable CHECK (
        (coalesce(name, '') || coalesce(external_id, '')) COLLATE "C" !~ CASE getdatabaseencoding()
            WHEN 'UTF8' THEN '[\u0001-\u001f\u007f-\u009f]' ELSE '[\u0001-\u001f\u007f]' END
    ) NOT VALID;

-- An order is its receipt: none of its columns changes, not only those that others refer to. No
-- version has ever updated one. Once for each statement, like the guards of migration 2.
CREATE OR REPLACE TRIGGER orders_stay BEFORE DELETE OR TRUNCATE OR UPDATE ON orders
    FOR EACH STATEMENT EXECUTE FUNCTION books_rows_stay();
