-- no-transaction
-- unused since 0.1: a buyer's orders are read along the wallet's ledger (migration 7). An older
-- version that runs beside a newer one still finds them, but looks through all orders.
DROP INDEX CONCURRENTLY IF EXISTS orders_of_user;
