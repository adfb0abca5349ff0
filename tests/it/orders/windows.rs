//! When a sale sells: from its start (included) to its end (excluded), by the database's clock.

use chrono::TimeDelta;
use serde_json::json;

use super::{moment, until_status};
use crate::support::Service;
use crate::support::api::new_key;

/// One sale from before its start to behind its end, and one key all along.
#[tokio::test]
async fn a_key_lives_through_the_whole_window_of_a_sale() {
    let service = Service::start().await;
    let (api, key) = (&service.api, new_key());
    let (user, other) = (api.user("9.00").await, api.user("9.00").await);
    let starts_at = moment(&service, TimeDelta::milliseconds(1_000)).await;
    let ends_at = moment(&service, TimeDelta::milliseconds(5_000)).await;
    let window =
        json!({ "unit_price": "4.50", "stock": 1, "starts_at": starts_at, "ends_at": ends_at });
    let sale = api.sale_with(window).await;

    let early = api.buy(&key, &user, &sale).await;
    let early = early.refused(400, "sale_not_open", "no", "same_key");
    assert_eq!((early.text("starts_at"), early.text("ends_at")), (starts_at, ends_at));
    until_status(api, &sale, "live").await;
    let made = api.buy(&key, &user, &sale).await.expect(201);
    let late = api.buy(&new_key(), &other, &sale).await;
    assert_eq!(late.refused(400, "out_of_stock", "no", "same_key").body["stock"], 0);
    let sold_out = api.buy(&key, &user, &sale).await.expect(201);
    assert!(sold_out.replayed() && sold_out.bytes == made.bytes);

    until_status(api, &sale, "ended").await;
    let over = api.buy(&key, &user, &sale).await.expect(201);
    assert!(over.replayed() && over.bytes == made.bytes);
    let over = api.buy(&new_key(), &other, &sale).await;
    over.refused(400, "sale_not_open", "no", "same_key");
    assert_eq!(
        (api.balance(&user).await, api.balance(&other).await),
        ("4.50".into(), "9.00".into())
    );
    service.finish().await;
}

#[tokio::test]
async fn the_windows_edges_are_a_matter_of_moments() {
    let service = Service::start().await;
    let api = &service.api;
    let user = api.user("9.00").await;
    let (past, future) = (TimeDelta::milliseconds(-1), TimeDelta::seconds(60));
    let table = [
        (Some(past), None, 201),
        (Some(past), Some(future), 201),
        (Some(future), None, 400),
        (Some(past - TimeDelta::seconds(1)), Some(past), 400),
    ];
    for (starts, ends, status) in table {
        let mut window = json!({ "unit_price": "1.00", "stock": 1 });
        for (name, offset) in [("starts_at", starts), ("ends_at", ends)] {
            if let Some(offset) = offset {
                window[name] = json!(moment(&service, offset).await);
            }
        }
        let sale = api.sale_with(window.clone()).await;
        let reply = api.buy(&new_key(), &user, &sale).await;
        assert_eq!(reply.status.as_u16(), status, "{window}: {reply:?}");
    }
    assert_eq!(api.balance(&user).await, "7.00");
    service.finish().await;
}
