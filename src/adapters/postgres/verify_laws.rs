//! The laws of the books as set-based SQL. What each means is said in `domain::books`; here it is
//! one query that returns only what breaks it. `verify_repo` asks them all in one snapshot.
//!
//! A query reads each table once, from end to end, and joins by hash.

use crate::domain::books::Law;

/// Each law's query: subject, expected, actual, all text. `$1` is the longest list wanted.
pub(super) const LAWS: &[(Law, &str)] = &[
    (
        Law::StockConserved,
        "SELECT 'sale ' || coalesce(s.id, o.sale_id),
                coalesce((s.stock_initial - coalesce(o.sold, 0))::text, 'a sale'),
                coalesce(s.stock::text, 'none, with ' || o.sold || ' units sold')
         FROM sales s
         FULL JOIN (SELECT sale_id, sum(quantity) AS sold FROM orders GROUP BY sale_id) o
           ON o.sale_id = s.id
         WHERE s.id IS NULL OR s.stock <> s.stock_initial - coalesce(o.sold, 0) OR s.stock < 0
         LIMIT $1",
    ),
    (
        Law::SequenceUnbroken,
        "SELECT 'sale ' || s.id, s.order_count || ' orders numbered 1 to ' || s.order_count,
                coalesce(o.n, 0) || ' orders numbered to ' || coalesce(o.newest, 0)
         FROM sales s
         LEFT JOIN (SELECT sale_id, count(*) AS n, max(sequence) AS newest FROM orders
                    GROUP BY sale_id) o
           ON o.sale_id = s.id
         WHERE coalesce(o.n, 0) <> s.order_count OR coalesce(o.newest, 0) <> s.order_count
         LIMIT $1",
    ),
    (
        Law::BalanceIsLedger,
        "SELECT 'wallet ' || coalesce(w.user_id, e.user_id),
                coalesce(e.sum, 0) || ' from ' || coalesce(e.n, 0) || ' entries',
                coalesce(w.balance || ' from ' || w.entry_count || ' entries', 'no wallet')
         FROM wallets w
         FULL JOIN (SELECT user_id, sum(amount) AS sum, count(*) AS n FROM ledger_entries
                    GROUP BY user_id) e
           ON e.user_id = w.user_id
         WHERE w.user_id IS NULL OR w.balance <> coalesce(e.sum, 0)
            OR w.entry_count <> coalesce(e.n, 0) OR w.balance < 0
         LIMIT $1",
    ),
    (
        Law::LedgerChained,
        "SELECT 'entry ' || id || ' of wallet ' || user_id,
                'number ' || place || ', balance after ' || due,
                'number ' || number || ', balance after ' || balance_after
         FROM (SELECT id, user_id, number, balance_after,
                      row_number() OVER entries AS place,
                      lag(balance_after, 1, 0.00) OVER entries + amount AS due
               FROM ledger_entries
               WINDOW entries AS (PARTITION BY user_id ORDER BY number)) chained
         WHERE balance_after <> due OR number <> place OR balance_after < 0
         LIMIT $1",
    ),
    (
        Law::OrderPaid,
        "SELECT 'order ' || o.id,
                'one debit of ' || o.unit_price * o.quantity || ' from wallet ' || o.user_id
                || ' to ' || o.balance_after || ', ' || coalesce(o.reference, 'no reference')
                || ', at ' || o.created_at,
                CASE WHEN e.order_id IS NULL THEN 'no debit'
                     ELSE e.n || ' debits of ' || -e.amount || ' from wallet ' || e.user_id
                          || ' to ' || e.balance_after || ', '
                          || coalesce(e.reference, 'no reference') || ', at ' || e.created_at
                          || ', total ' || o.total END
         FROM orders o
         LEFT JOIN (SELECT order_id, count(*) AS n, sum(amount) AS amount,
                           min(user_id::text) AS user_id, min(balance_after) AS balance_after,
                           min(reference) AS reference, min(created_at) AS created_at
                    FROM ledger_entries WHERE type = 'order' GROUP BY order_id) e
           ON e.order_id = o.id
         WHERE coalesce(e.n, 0) <> 1 OR e.amount <> -(o.unit_price * o.quantity)
            OR e.user_id <> o.user_id::text OR o.total <> o.unit_price * o.quantity
            OR e.balance_after <> o.balance_after OR e.created_at <> o.created_at
            OR e.reference IS DISTINCT FROM o.reference
         LIMIT $1",
    ),
    (
        Law::DebitHasOrder,
        "SELECT 'entry ' || e.id, 'an order', 'none'
         FROM ledger_entries e LEFT JOIN orders o ON o.id = e.order_id
         WHERE e.type = 'order' AND o.id IS NULL
         LIMIT $1",
    ),
    (
        Law::OneOrderPerKey,
        "SELECT 'order ' || coalesce(o.id, k.resource_id), 'one key of its buyer',
                CASE WHEN k.resource_id IS NULL THEN 'no key'
                     WHEN o.id IS NULL THEN 'a key without an order'
                     ELSE k.n || ' keys of user ' || k.user_id END
         FROM orders o
         FULL JOIN (SELECT resource_id, count(*) AS n, min(user_id::text) AS user_id
                    FROM idempotency_keys WHERE operation = 'order' GROUP BY resource_id) k
           ON k.resource_id = o.id
         WHERE o.id IS NULL OR coalesce(k.n, 0) <> 1 OR k.user_id <> o.user_id::text
         LIMIT $1",
    ),
    // What a user begins with comes without a key of its own: the first entry, at the moment the
    // user was made. Every other deposit has one. A user or a sale may come without.
    (
        Law::KeysKept,
        "SELECT coalesce(m.operation, k.operation) || ' ' || coalesce(m.id, k.resource_id),
                CASE WHEN m.id IS NULL THEN 'no key, or what it made'
                     ELSE 'one key of user ' || m.user_id END,
                coalesce(k.n || ' keys of user ' || k.user_id, 'no key')
         FROM (SELECT 'deposit' AS operation, e.id, e.user_id,
                      e.number <> 1 OR e.created_at IS DISTINCT FROM u.created_at AS keyed
               FROM ledger_entries e LEFT JOIN users u ON u.id = e.user_id
               WHERE e.order_id IS NULL
               UNION ALL
               SELECT 'user', id, '00000000-0000-0000-0000-000000000000', false FROM users
               UNION ALL
               SELECT 'sale', id, '00000000-0000-0000-0000-000000000000', false FROM sales) m
         FULL JOIN (SELECT operation, resource_id, count(*) AS n, min(user_id::text) AS user_id
                    FROM idempotency_keys WHERE operation <> 'order'
                    GROUP BY operation, resource_id) k
           ON k.resource_id = m.id AND k.operation = m.operation
         WHERE m.id IS NULL OR k.n > 1 OR k.user_id <> m.user_id::text
            OR m.keyed AND k.n IS NULL
         LIMIT $1",
    ),
    (
        Law::LimitKept,
        "SELECT 'user ' || o.user_id || ' in sale ' || s.id, 'at most ' || s.per_user_limit,
                sum(o.quantity)::text
         FROM orders o JOIN sales s ON s.id = o.sale_id
         WHERE s.per_user_limit IS NOT NULL
         GROUP BY o.user_id, s.id
         HAVING sum(o.quantity) > s.per_user_limit
         LIMIT $1",
    ),
    (
        Law::WindowKept,
        "SELECT 'order ' || o.id,
                'from ' || s.starts_at || coalesce(' to ' || s.ends_at, ''), o.created_at::text
         FROM orders o JOIN sales s ON s.id = o.sale_id
         WHERE o.created_at < s.starts_at OR o.created_at >= s.ends_at
         LIMIT $1",
    ),
    (
        Law::PriceKept,
        "SELECT 'order ' || o.id, s.unit_price || ' for one unit', o.unit_price::text
         FROM orders o JOIN sales s ON s.id = o.sale_id
         WHERE o.unit_price <> s.unit_price
         LIMIT $1",
    ),
    (
        Law::UserHasWallet,
        "SELECT 'user ' || u.id, 'a wallet', 'none'
         FROM users u LEFT JOIN wallets w ON w.user_id = u.id
         WHERE w.user_id IS NULL
         LIMIT $1",
    ),
    (
        Law::MoneyConserved,
        "SELECT 'the installation', deposits || ' of deposits',
                balances || ' in wallets and ' || totals || ' in orders'
         FROM (SELECT
                 (SELECT coalesce(sum(amount), 0) FROM ledger_entries WHERE type = 'deposit')
                   AS deposits,
                 (SELECT coalesce(sum(balance), 0) FROM wallets) AS balances,
                 (SELECT coalesce(sum(total), 0) FROM orders WHERE status = 'confirmed')
                   AS totals) sums
         WHERE deposits <> balances + totals
         LIMIT $1",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn every_law_has_one_query() {
        let mut laws: HashMap<Law, usize> = HashMap::new();
        for (law, _) in LAWS {
            *laws.entry(*law).or_default() += 1;
        }
        assert_eq!(laws.len(), 13);
        assert!(laws.values().all(|queries| *queries == 1));
    }
}
