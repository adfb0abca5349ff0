-- Two roles for FlashDeal: one that changes the schema and one that sells. What the seller must not do is refused by
-- PostgreSQL itself, whoever speaks in its name.
--
--   psql "$ADMIN_URL" -v ON_ERROR_STOP=1 -f deploy/postgres/roles.sql   # makes the roles; they have no password yet
--   psql "$ADMIN_URL" -c '\password flashdeal_migrator' -c '\password flashdeal_service'
--   DATABASE_URL=postgres://flashdeal_migrator:…@db.example/shop flashdeal migrate
--   psql "$ADMIN_URL" -v ON_ERROR_STOP=1 -f deploy/postgres/roles.sql   # now there are tables to grant
--   DATABASE_URL=postgres://flashdeal_service:…@db.example/shop FLASHDEAL_MIGRATE=off flashdeal serve
--
-- (`import` with the service's role wants FLASHDEAL_MIGRATE=off as well: without it both try to migrate, and are refused.)
--
-- Run it again after each upgrade, after `flashdeal migrate`; it changes nothing that is already so. $ADMIN_URL is a
-- superuser in FlashDeal's database, with FlashDeal's schema first on its search_path. (A managed service's
-- administrator, who is none: GRANT flashdeal_migrator TO CURRENT_USER after the first run, then run it again.)
--
-- In a database that FlashDeal has to itself, take temporary tables from everyone, too:
--   REVOKE TEMPORARY ON DATABASE shop FROM PUBLIC;
--
-- Tested by `cargo test --test it privileges::`.

BEGIN;

DO $roles$
DECLARE
    role text;
    made text;
BEGIN
    FOREACH role IN ARRAY ARRAY['flashdeal_migrator', 'flashdeal_service'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I', role);
        END IF;
        EXECUTE format('ALTER ROLE %I LOGIN NOINHERIT NOCREATEDB NOCREATEROLE', role);
    END LOOP;

    -- Others' sessions and transactions, for the alarms that watch them. It shows their queries, too: leave it out
    -- where they are nobody's business, and those alarms see this service only. It works by being inherited.
    ALTER ROLE flashdeal_service INHERIT;
    BEGIN
        GRANT pg_read_all_stats TO flashdeal_service;
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE NOTICE 'pg_read_all_stats is not yours to grant: others'' sessions will not be seen';
    END;

    -- Only the migrator makes things in this schema. (Before PostgreSQL 15 everyone might.)
    made := quote_ident(current_schema());
    EXECUTE format('REVOKE CREATE ON SCHEMA %s FROM PUBLIC', made);
    EXECUTE format('REVOKE ALL ON SCHEMA %s FROM flashdeal_service', made);
    EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %s TO flashdeal_migrator', made);
    EXECUTE format('GRANT USAGE ON SCHEMA %s TO flashdeal_service', made);
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO flashdeal_migrator, flashdeal_service',
                   current_database());
END $roles$;

DO $tables$
DECLARE
    made text;
    own text[] := ARRAY['_sqlx_migrations', 'installation', 'users', 'wallets', 'sales', 'orders',
                        'ledger_entries', 'idempotency_keys'];
BEGIN
    -- What somebody else had made before there were roles. An owner could switch triggers off.
    FOR made IN
        SELECT c.oid::regclass::text FROM pg_class c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
          AND c.relname = ANY (own)
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO flashdeal_migrator', made);
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC, flashdeal_service', made);
        EXECUTE format('GRANT SELECT ON %s TO flashdeal_service', made);
    END LOOP;
    IF to_regclass('idempotency_keys') IS NULL THEN
        RAISE NOTICE 'no tables yet: run `flashdeal migrate`, then this script again';
        RETURN;
    END IF;
    ALTER FUNCTION ledger_is_append_only() OWNER TO flashdeal_migrator;
    ALTER FUNCTION books_rows_stay() OWNER TO flashdeal_migrator;
    ALTER FUNCTION orders_refer() OWNER TO flashdeal_migrator;
    ALTER FUNCTION ledger_entries_refer() OWNER TO flashdeal_migrator;
    ALTER FUNCTION sales_readable() OWNER TO flashdeal_migrator;
    -- It locks and reads with the rights of whoever calls it.
    ALTER FUNCTION lock_for_orders(uuid, uuid[]) OWNER TO flashdeal_migrator;
    GRANT EXECUTE ON FUNCTION lock_for_orders(uuid, uuid[]) TO flashdeal_service;

    -- What is written once and never changed.
    GRANT INSERT ON installation, users, orders, ledger_entries TO flashdeal_service;
    -- What an order moves: a balance, a stock and their counts; nothing of what they belong to. (A column of each is
    -- also what `FOR NO KEY UPDATE` needs.)
    GRANT INSERT, UPDATE (balance, entry_count, updated_at) ON wallets TO flashdeal_service;
    GRANT INSERT, UPDATE (stock, order_count, sold_out_at) ON sales TO flashdeal_service;
    -- A claim is given back in the transaction that made it. A committed key stays for ever: a key that could be
    -- deleted could buy again.
    GRANT INSERT, DELETE ON idempotency_keys TO flashdeal_service;
    ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY;
    DROP POLICY IF EXISTS keys_are_seen ON idempotency_keys;
    DROP POLICY IF EXISTS keys_are_claimed ON idempotency_keys;
    DROP POLICY IF EXISTS keys_stay ON idempotency_keys;
    CREATE POLICY keys_are_seen ON idempotency_keys FOR SELECT USING (true);
    CREATE POLICY keys_are_claimed ON idempotency_keys FOR INSERT TO flashdeal_service WITH CHECK (true);
    CREATE POLICY keys_stay ON idempotency_keys FOR DELETE TO flashdeal_service
        USING (xmin = pg_current_xact_id()::xid);
END $tables$;

COMMIT;
