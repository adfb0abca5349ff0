-- One order as one function call: one round trip, one transaction. See setup.sql.
\set buyer random(1, :buyers)
SELECT bench_place_order(gen_random_uuid()::text, bench_buyer(:buyer), :sale_id,
                         bench_new_id(), gen_random_uuid());
