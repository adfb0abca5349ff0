-- FlashDeal's tables. The program decides; these constraints keep the books even against a program
-- that is wrong. No schema is named anywhere, so the tables live wherever search_path points.
--
-- Locks are taken in one order everywhere: idempotency_keys, then the sale, then wallets by
-- ascending user_id.

-- One row: what the whole installation agrees on.
CREATE TABLE installation (
    only_row    boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    currency    text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE users (
    id          uuid        PRIMARY KEY,
    external_id text        UNIQUE CHECK (char_length(external_id) BETWEEN 1 AND 200),
    name        text        CHECK (char_length(name) BETWEEN 1 AND 200),
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX users_newest ON users (created_at DESC, id DESC);

-- A wallet is the row that an order locks for its buyer. Room on each page (fillfactor) lets an
-- update stay on its page without touching an index (HOT).
CREATE TABLE wallets (
    user_id     uuid          PRIMARY KEY REFERENCES users (id),
    balance     numeric(13,2) NOT NULL CHECK (balance BETWEEN 0 AND 99999999999.99),
    -- How many ledger entries this wallet has; the newest has this number.
    entry_count bigint        NOT NULL DEFAULT 0 CHECK (entry_count >= 0),
    updated_at  timestamptz   NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70);

-- The hot row of a flash sale. Half of each page is kept free for its many versions.
CREATE TABLE sales (
    id             uuid          PRIMARY KEY,
    name           text          NOT NULL CHECK (char_length(name) BETWEEN 1 AND 200),
    sku            text          CHECK (char_length(sku) BETWEEN 1 AND 200),
    unit_price     numeric(13,2) NOT NULL CHECK (unit_price BETWEEN 0 AND 99999999999.99),
    stock          integer       NOT NULL CHECK (stock >= 0),
    stock_initial  integer       NOT NULL CHECK (stock_initial >= 0),
    per_user_limit integer       CHECK (per_user_limit >= 1),
    starts_at      timestamptz   NOT NULL,
    ends_at        timestamptz   CHECK (ends_at > starts_at),
    sold_out_at    timestamptz,
    -- How many orders this sale has; the newest has this sequence.
    order_count    bigint        NOT NULL DEFAULT 0 CHECK (order_count >= 0),
    created_at     timestamptz   NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT sales_stock_within_initial CHECK (stock <= stock_initial)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE INDEX sales_newest ON sales (created_at DESC, id DESC);

-- An order is written once, complete, and never changed: the row is the receipt from which every
-- replay is written again.
CREATE TABLE orders (
    id            uuid          PRIMARY KEY,
    user_id       uuid          NOT NULL REFERENCES wallets (user_id),
    sale_id       uuid          NOT NULL REFERENCES sales (id),
    -- The place in the sale's order of decisions, from 1 without gaps.
    sequence      bigint        NOT NULL CHECK (sequence >= 1),
    quantity      integer       NOT NULL CHECK (quantity BETWEEN 1 AND 100),
    unit_price    numeric(13,2) NOT NULL CHECK (unit_price >= 0),
    total         numeric(13,2) NOT NULL,
    balance_after numeric(13,2) NOT NULL CHECK (balance_after >= 0),
    status        text          NOT NULL DEFAULT 'confirmed' CHECK (status = 'confirmed'),
    reference     text          CHECK (char_length(reference) BETWEEN 1 AND 200),
    -- The moment of decision: clock_timestamp() read under the sale's lock.
    created_at    timestamptz   NOT NULL,
    CONSTRAINT orders_total_is_price CHECK (total = unit_price * quantity),
    CONSTRAINT orders_sequence_once UNIQUE (sale_id, sequence)
);
-- "My orders, newest first", and the units that a limited sale has already given to a user.
CREATE INDEX orders_of_user ON orders (user_id, id);
CREATE INDEX orders_by_reference ON orders (reference, id) WHERE reference IS NOT NULL;

-- Append-only. The primary key is also the index of "this wallet's entries, newest first".
CREATE TABLE ledger_entries (
    user_id       uuid          NOT NULL REFERENCES wallets (user_id),
    -- 1 for the wallet's first entry, then without gaps.
    number        bigint        NOT NULL CHECK (number >= 1),
    id            uuid          NOT NULL,
    type          text          NOT NULL CHECK (type IN ('deposit', 'order')),
    amount        numeric(13,2) NOT NULL,
    balance_after numeric(13,2) NOT NULL CHECK (balance_after >= 0),
    order_id      uuid          UNIQUE REFERENCES orders (id),
    reference     text          CHECK (char_length(reference) BETWEEN 1 AND 200),
    created_at    timestamptz   NOT NULL,
    PRIMARY KEY (user_id, number),
    CONSTRAINT ledger_sign_follows_type CHECK (
        CASE type
            WHEN 'deposit' THEN amount > 0 AND order_id IS NULL
            ELSE amount <= 0 AND order_id IS NOT NULL
        END
    )
);
-- Replays of deposits find their entry here; orders do not pay for this index.
CREATE UNIQUE INDEX ledger_deposit_by_id ON ledger_entries (id) WHERE order_id IS NULL;

CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'ledger_entries is append-only: % is refused', TG_OP
        USING ERRCODE = 'integrity_constraint_violation',
              HINT = 'Correct a mistake with a new entry.';
END $$;
CREATE TRIGGER ledger_rows_stay BEFORE UPDATE OR DELETE ON ledger_entries
    FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only();
CREATE TRIGGER ledger_stays BEFORE TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();

-- A key is claimed first in the transaction that uses it, and stays only if that commits. The row
-- names what was made; the answer is written again from there (docs/adr/0003-key-table.md).
-- No foreign key: a claim must not fail because of whom or what the request names.
CREATE TABLE idempotency_keys (
    key         text  COLLATE "C" NOT NULL CHECK (char_length(key) BETWEEN 1 AND 255),
    -- The user whose money moves; the nil UUID for operations of the whole installation.
    user_id     uuid  NOT NULL,
    operation   text  COLLATE "C" NOT NULL CHECK (operation IN ('order', 'deposit', 'user', 'sale')),
    fingerprint bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    resource_id uuid  NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (key, user_id, operation)
);

COMMENT ON TABLE idempotency_keys IS
    'One row for each key that made something. Deleting a row lets its key buy again: never delete.';
COMMENT ON TABLE ledger_entries IS 'What moved each balance, append-only.';
COMMENT ON COLUMN sales.stock IS 'Units left. stock + sum of quantities of its orders = stock_initial.';
