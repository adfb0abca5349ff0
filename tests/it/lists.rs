//! Lists: pages, cursors and filters. A walk sees what was there exactly once, whatever is
//! inserted meanwhile.

mod filters;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::orders::NOBODY;
use crate::orders::bodies::faulty_fields;
use crate::support::Service;
use crate::support::api::{Reply, new_key};

/// The ids of a page.
fn ids(page: &Reply) -> Vec<String> {
    let items = page.body["items"].as_array().expect("items");
    items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
}

fn next(page: &Reply) -> Option<String> {
    page.body["next_cursor"].as_str().map(str::to_owned)
}

/// A list with its filters, and what makes one more item in it.
struct List {
    path: String,
    insert: fn(&str) -> (String, Value),
}

/// Every list there is, each way in that has a statement of its own.
fn lists(user: &str, sale: &str) -> Vec<List> {
    let order = |names: &str| {
        let (user, sale) = names.split_once(' ').expect("two ids");
        let body = json!({ "user_id": user, "sale_id": sale, "reference": "r" });
        ("/api/orders".to_owned(), body)
    };
    let list = |path: String, insert: fn(&str) -> (String, Value)| List { path, insert };
    vec![
        list("/api/users?".to_owned(), |_| ("/api/users".to_owned(), json!({}))),
        list("/api/sales?".to_owned(), |_| {
            let body = json!({ "name": "lamp", "unit_price": "1.00", "stock": 1 });
            ("/api/sales".to_owned(), body)
        }),
        list("/api/sales?status=upcoming&".to_owned(), |_| {
            let body = json!({
                "name": "lamp", "unit_price": "1.00", "stock": 1,
                "starts_at": "2099-01-01T00:00:00Z",
            });
            ("/api/sales".to_owned(), body)
        }),
        list(format!("/api/users/{user}/wallet/entries?"), |names| {
            let (user, _) = names.split_once(' ').expect("two ids");
            (format!("/api/users/{user}/wallet/deposits"), json!({ "amount": "0.01" }))
        }),
        list("/api/orders?".to_owned(), order),
        list(format!("/api/orders?sale_id={sale}&"), order),
        list(format!("/api/orders?user_id={user}&"), order),
        list("/api/orders?reference=r&".to_owned(), order),
        list(
            format!("/api/orders?user_id={user}&sale_id={sale}&reference=r&status=confirmed&"),
            order,
        ),
    ]
}

#[tokio::test]
async fn a_walk_sees_every_item_exactly_once_while_others_are_inserted() {
    let service = Service::start().await;
    let api = &service.api;
    let (user, sale) = (api.user("500.00").await, api.sale("1.00", 400).await);
    let names = format!("{user} {sale}");
    for list in lists(&user, &sale) {
        let insert = async || {
            let (path, body) = (list.insert)(&names);
            api.post(&path, &new_key(), &body).await.expect(201).id()
        };
        let mut made = BTreeSet::new();
        for _ in 0..7 {
            made.insert(insert().await);
        }
        let before = ids(&api.get(&format!("{}limit=200", list.path)).await.expect(200));
        assert!(made.is_subset(&before.iter().cloned().collect()), "{}", list.path);
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = api.get(&format!("{}limit=3{cursor}", list.path)).await.expect(200);
            let found = ids(&page);
            assert!((1..=3).contains(&found.len()), "{}: {page:?}", list.path);
            seen.extend(found);
            insert().await;
            match next(&page) {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen, before, "{}", list.path);
    }
    service.finish().await;
}

/// Newest first; a sale's orders in the order in which they were decided.
#[tokio::test]
async fn lists_are_newest_first_and_a_full_last_page_has_no_cursor() {
    let service = Service::start().await;
    let api = &service.api;
    let (user, sale) = (api.user("500.00").await, api.sale("1.00", 400).await);
    let names = format!("{user} {sale}");
    for list in lists(&user, &sale) {
        let mut made = Vec::new();
        for _ in 0..2 {
            let (path, body) = (list.insert)(&names);
            made.insert(0, api.post(&path, &new_key(), &body).await.expect(201).id());
        }
        let all = ids(&api.get(&list.path).await.expect(200));
        assert_eq!(all[..2], made, "{}", list.path);
        let exact = api.get(&format!("{}limit={}", list.path, all.len())).await.expect(200);
        assert_eq!((ids(&exact), next(&exact)), (all.clone(), None), "{}", list.path);
        let first = api.get(&format!("{}limit=1", list.path)).await.expect(200);
        assert_eq!(ids(&first), all[..1], "{}", list.path);
        let cursor = next(&first).expect("a cursor");
        let opaque = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        assert!(cursor.chars().all(opaque), "{cursor}");
        // The same page twice is the same page.
        let path = format!("{}limit=1&cursor={cursor}", list.path);
        assert_eq!(api.get(&path).await.bytes, api.get(&path).await.bytes);
    }
    service.finish().await;
}

#[tokio::test]
async fn a_page_has_fifty_items_unless_asked_and_two_hundred_at_most() {
    let service = Service::start().await;
    let api = &service.api;
    let user = api.user("500.00").await;
    let mut session = service.database.session().await;
    let users = "INSERT INTO users (id) SELECT gen_random_uuid() FROM generate_series(1, 210)";
    let wallets =
        "INSERT INTO wallets (user_id, balance) SELECT id, 0 FROM users ON CONFLICT DO NOTHING";
    for statement in [users, wallets] {
        sqlx::query(statement).execute(&mut session).await.expect("users without a history");
    }
    for (query, count) in [("", 50), ("limit=1", 1), ("limit=200", 200), ("limit=0200", 200)] {
        let page = api.get(&format!("/api/users?{query}")).await.expect(200);
        assert_eq!((ids(&page).len(), next(&page).is_some()), (count, true), "{query}");
    }
    for list in lists(&user, NOBODY) {
        for limit in
            ["0", "201", "-1", "+1", "1.0", "1e2", "", "x", "%31%00", "99999999999999999999"]
        {
            let reply = api.get(&format!("{}limit={limit}", list.path)).await.expect(400);
            assert_eq!(faulty_fields(&reply), ["limit"], "{limit}");
        }
    }
    service.finish().await;
}

#[tokio::test]
async fn a_cursor_of_another_list_is_refused() {
    let service = Service::start().await;
    let api = &service.api;
    let (user, sale) = (api.user("500.00").await, api.sale("1.00", 400).await);
    let names = format!("{user} {sale}");
    let lists = lists(&user, &sale);
    let mut cursors = Vec::new();
    for list in &lists {
        for _ in 0..2 {
            let (path, body) = (list.insert)(&names);
            api.post(&path, &new_key(), &body).await.expect(201);
        }
        let page = api.get(&format!("{}limit=1", list.path)).await.expect(200);
        cursors.push(next(&page).expect("a cursor"));
    }
    // Users 0, sales 1 and 2, entries 3, orders 4 to 8, of which 5 runs along a sale.
    let family = |list: usize| match list {
        0 => "users",
        1 | 2 => "sales",
        3 => "entry",
        5 => "sequence",
        _ => "order",
    };
    for (at, list) in lists.iter().enumerate() {
        for (from, cursor) in cursors.iter().enumerate() {
            let reply = api.get(&format!("{}cursor={cursor}", list.path)).await;
            let wanted = if family(at) == family(from) { 200 } else { 400 };
            assert_eq!(reply.status.as_u16(), wanted, "{} with {from}", list.path);
        }
        for forged in
            ["x", "s0", "e-1", "i7", "t1-2", "e99999999999999999999", "%00", &"i".repeat(500)]
        {
            let reply = api.get(&format!("{}cursor={forged}", list.path)).await.expect(400);
            assert_eq!(faulty_fields(&reply), ["cursor"], "{forged}");
        }
    }
    service.finish().await;
}
