//! What a list may be asked: known parameters, each once; and the key as a way to an order.

use serde_json::{Value, json};

use super::{ids, lists, next};
use crate::orders::NOBODY;
use crate::orders::bodies::faulty_fields;
use crate::support::Service;
use crate::support::api::Api;
use crate::support::locks::run;

#[tokio::test]
async fn a_parameter_that_a_list_does_not_know_is_refused_by_name() {
    let service = Service::start().await;
    let api = &service.api;
    let (user, sale) = (api.user("500.00").await, api.sale("1.00", 4).await);
    for list in lists(&user, &sale) {
        for (query, field) in [
            ("page=2", "page"),
            ("offset", "offset"),
            ("Limit=2", "Limit"),
            ("limit=2&limit=2", "limit"),
            ("cursor=", "cursor"),
            ("%0a=1", "\\n"),
        ] {
            let reply = api.get(&format!("{}{query}", list.path)).await.expect(400);
            assert_eq!(reply.code(), "validation_failed");
            assert_eq!(faulty_fields(&reply), [field], "{}{query}", list.path);
        }
        let reply = api.get(&format!("{}page=2", list.path)).await;
        let message = reply.body["errors"][0]["message"].as_str().unwrap_or_default();
        assert!(message.contains("limit, cursor"), "{message}");
    }
    for (query, fields) in [
        ("user_id=7", vec!["user_id"]),
        ("sale_id=", vec!["sale_id"]),
        ("status=pending", vec!["status"]),
        ("reference=", vec!["reference"]),
        ("reference=a%00", vec!["reference"]),
        ("idempotency_key=k", vec!["idempotency_key"]),
        ("idempotency_key=a%20b&limit=0", vec!["idempotency_key", "limit"]),
    ] {
        let reply = api.get(&format!("/api/orders?{query}")).await.expect(400);
        assert_eq!(faulty_fields(&reply), fields, "{query}");
    }
    service.finish().await;
}

/// Asks for one order by its key, in the header's spellings.
async fn by_key(api: &Api, user: &str, key: &str) -> Value {
    let key = key.replace('"', "%22").replace('\\', "%5C").replace('#', "%23");
    let path = format!("/api/orders?user_id={user}&idempotency_key={key}");
    api.get(&path).await.expect(200).body["items"].clone()
}

#[tokio::test]
async fn an_order_is_found_by_its_key_and_other_filters_still_count() {
    let service = Service::start().await;
    let api = &service.api;
    let (ada, bob) = (api.user("9.00").await, api.user("9.00").await);
    let sale = api.sale("1.00", 9).await;
    let made = api.buy("a\"b#1", &ada, &sale).await.expect(201);
    for spelling in ["a\"b#1", "\"a\\\"b#1\""] {
        assert_eq!(by_key(api, &ada, spelling).await, json!([made.body]));
        assert_eq!(by_key(api, &bob, spelling).await, json!([]));
    }
    assert_eq!(by_key(api, &ada, "another").await, json!([]));
    let path = format!("/api/orders?user_id={ada}&idempotency_key=a%22b%231");
    for (more, count) in [
        (format!("&sale_id={sale}"), 1),
        (format!("&sale_id={NOBODY}"), 0),
        ("&reference=x".to_owned(), 0),
    ] {
        let found = api.get(&format!("{path}{more}")).await.expect(200);
        assert_eq!(ids(&found).len(), count, "{more}");
    }
    // A deposit's key is no order's.
    let deposit = json!({ "amount": "1.00" });
    let deposits = format!("/api/users/{ada}/wallet/deposits");
    api.post(&deposits, "d-1", &deposit).await.expect(201);
    assert_eq!(by_key(api, &ada, "d-1").await, json!([]));
    service.finish().await;
}

/// Orders from before migration 7, and those that an older version writes beside this one, do not
/// say which entry is their debit. They are found and counted all the same.
#[tokio::test]
async fn orders_that_name_no_debit_are_listed_and_counted_as_all_others() {
    let service = Service::start().await;
    let api = &service.api;
    let user = api.user("9.00").await;
    let sale = json!({ "unit_price": "1.00", "stock": 9, "per_user_limit": 5 });
    let sale = api.sale_with(sale).await;
    let mut made = Vec::new();
    for key in ["a", "b", "c", "d", "e"] {
        made.insert(0, api.buy(key, &user, &sale).await.expect(201).id());
    }
    let mut session = service.database.session().await;
    let older = "SET session_replication_role = replica;
                 UPDATE orders SET entry_number = NULL WHERE sequence <> 3";
    run(&mut session, older).await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    for _ in 0..3 {
        let path = format!("/api/orders?user_id={user}&limit=2{cursor}");
        let page = api.get(&path).await.expect(200);
        seen.extend(ids(&page));
        cursor = next(&page).map_or_else(String::new, |next| format!("&cursor={next}"));
    }
    assert_eq!((seen, &*cursor), (made, ""));
    let more = api.buy("f", &user, &sale).await.expect(400);
    assert_eq!((&*more.code(), &more.body["bought"]), ("purchase_limit_reached", &json!(5)));
    service.finish().await;
}
