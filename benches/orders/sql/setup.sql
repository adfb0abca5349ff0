-- Lives in the benchmark's database only. What the service makes in its own process (ids, the
-- name of a buyer) must come from somewhere when pgbench drives.

-- UUID version 7, as the service makes them: ids that sort by time, so that indexes grow at one
-- end. A single expression: the planner inlines it.
CREATE FUNCTION bench_new_id() RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
            || '-7' || substr(gen_random_uuid()::text, 16))::uuid
$$;

CREATE FUNCTION bench_buyer(number text) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT ('0190a000-0000-7000-8000-' || lpad(number, 12, '0'))::uuid
$$;

-- The whole order in one call: the same rows, locks and checks as the service's statements, in the
-- plainest form that PL/pgSQL has. This is what "put it all into the database" can reach.
CREATE FUNCTION bench_place_order(
    wanted_key text, wanted_buyer uuid, wanted_sale uuid, new_order uuid, new_entry uuid
) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    sale    sales%ROWTYPE;
    wallet  wallets%ROWTYPE;
    bought  bigint := 0;
    moment  timestamptz;
    due     numeric(13,2);
    left_over numeric(13,2);
BEGIN
    INSERT INTO idempotency_keys (key, user_id, operation, fingerprint, resource_id)
    VALUES (wanted_key, wanted_buyer, 'order', decode(repeat('00', 32), 'hex'), new_order)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'key % is taken', wanted_key;
    END IF;

    SELECT * INTO sale FROM sales WHERE id = wanted_sale FOR NO KEY UPDATE;
    SELECT * INTO wallet FROM wallets WHERE user_id = wanted_buyer FOR NO KEY UPDATE;
    IF sale.per_user_limit IS NOT NULL THEN
        SELECT coalesce(sum(o.quantity), 0) INTO bought
        FROM ledger_entries e JOIN orders o ON o.id = e.order_id
        WHERE e.user_id = wanted_buyer AND o.sale_id = wanted_sale;
    END IF;
    moment := clock_timestamp();
    due := sale.unit_price;
    left_over := wallet.balance - due;
    IF sale.id IS NULL OR wallet.user_id IS NULL OR moment < sale.starts_at
       OR moment >= sale.ends_at OR bought >= sale.per_user_limit OR sale.stock < 1
       OR left_over < 0
    THEN
        RAISE EXCEPTION 'refused';
    END IF;

    INSERT INTO orders (id, user_id, sale_id, sequence, quantity, unit_price, total,
                        balance_after, created_at, entry_number)
    VALUES (new_order, wanted_buyer, wanted_sale, sale.order_count + 1, 1, sale.unit_price, due,
            left_over, moment, wallet.entry_count + 1);
    INSERT INTO ledger_entries (id, user_id, number, type, amount, balance_after, order_id,
                                created_at)
    VALUES (new_entry, wanted_buyer, wallet.entry_count + 1, 'order', -due, left_over, new_order,
            moment);
    UPDATE wallets SET balance = left_over, entry_count = wallet.entry_count + 1,
                       updated_at = moment
    WHERE user_id = wanted_buyer;
    UPDATE sales SET stock = sale.stock - 1, order_count = sale.order_count + 1,
                     sold_out_at = CASE WHEN sale.stock = 1 THEN moment END
    WHERE id = wanted_sale;
    RETURN left_over;
END $$;

-- Orders as the service would have written them, as one set: buyers in turn, one unit each. Behind
-- it the books balance.
CREATE FUNCTION bench_grow(wanted_sale uuid, orders_count integer, buyers integer)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    sale   sales%ROWTYPE;
    moment timestamptz;
BEGIN
    SELECT * INTO sale FROM sales WHERE id = wanted_sale FOR NO KEY UPDATE;
    moment := clock_timestamp();
    CREATE TEMPORARY TABLE grown ON COMMIT DROP AS
    SELECT sale.order_count + n AS sequence, bench_new_id() AS order_id,
           bench_buyer((1 + (sale.order_count + n) % buyers)::text) AS user_id,
           1 + (n - 1) / buyers AS turn
    FROM generate_series(1, orders_count) AS n;

    INSERT INTO idempotency_keys (key, user_id, operation, fingerprint, resource_id)
    SELECT gen_random_uuid()::text, user_id, 'order', decode(repeat('00', 32), 'hex'), order_id
    FROM grown;
    INSERT INTO orders (id, user_id, sale_id, sequence, quantity, unit_price, total,
                        balance_after, created_at, entry_number)
    SELECT g.order_id, g.user_id, wanted_sale, g.sequence, 1, sale.unit_price, sale.unit_price,
           w.balance - g.turn * sale.unit_price, moment, w.entry_count + g.turn
    FROM grown g JOIN wallets w ON w.user_id = g.user_id;
    INSERT INTO ledger_entries (id, user_id, number, type, amount, balance_after, order_id,
                                created_at)
    SELECT gen_random_uuid(), g.user_id, w.entry_count + g.turn, 'order', -sale.unit_price,
           w.balance - g.turn * sale.unit_price, g.order_id, moment
    FROM grown g JOIN wallets w ON w.user_id = g.user_id;
    UPDATE wallets w
    SET balance = w.balance - g.turns * sale.unit_price, entry_count = w.entry_count + g.turns,
        updated_at = moment
    FROM (SELECT user_id, max(turn) AS turns FROM grown GROUP BY user_id) g
    WHERE w.user_id = g.user_id;
    UPDATE sales SET stock = stock - orders_count, order_count = order_count + orders_count
    WHERE id = wanted_sale;
END $$;
