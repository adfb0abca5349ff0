//! The target `json`: bodies of every operation that has one.

use flashdeal::adapters::http::readers;
use flashdeal::adapters::token::Caller;
use flashdeal::domain::key::IdempotencyKey;
use serde_json::Value;

use super::{USER, buyer, fair};

/// Bodies: what is taken is said in the body, member by member, and nothing else is.
pub(super) fn json(input: &[u8]) {
    let key = || IdempotencyKey::parse(b"k").expect("a key");
    let body = serde_json::from_slice::<Value>(input).unwrap_or_default();
    let only = |names: &[&str]| {
        let members = body.as_object().expect("only an object is taken");
        let known = |(name, value): (&String, &Value)| names.contains(&&**name) && !value.is_null();
        assert!(members.iter().all(known));
    };
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    let names = ["user_id", "sale_id", "quantity", "reference", "valid_until"];
    for caller in [Caller::Service, buyer()] {
        match readers::order(input, caller, key()) {
            Err(refused) => fair(&refused, &["validation_failed", "forbidden"]),
            Ok(order) => {
                only(&names);
                assert!(caller.may_act_for(order.user_id));
                let user = text("user_id").map_or(USER.to_owned(), |id| id.to_lowercase());
                assert_eq!(order.user_id.to_string(), user);
                assert_eq!(
                    Some(order.sale_id.to_string()),
                    text("sale_id").map(|id| id.to_lowercase())
                );
                assert_eq!(order.reference.map(|it| it.to_string()), text("reference"));
                assert_eq!(
                    f64::from(order.quantity.units()),
                    body["quantity"].as_f64().unwrap_or(1.0)
                );
                assert_eq!(order.valid_until.is_some(), text("valid_until").is_some());
            }
        }
    }
    match readers::sale(input) {
        Err(refused) => fair(&refused, &["validation_failed"]),
        Ok(sale) => {
            only(&["name", "unit_price", "stock", "sku", "starts_at", "ends_at", "per_user_limit"]);
            assert_eq!(Some(sale.unit_price.to_string()), text("unit_price"));
            assert_eq!(Some(f64::from(sale.stock)), body["stock"].as_f64());
            assert!(sale.stock <= 1_000_000_000);
            assert!(sale.starts_at.zip(sale.ends_at).is_none_or(|(start, end)| start < end));
        }
    }
    match readers::user(input) {
        Err(refused) => fair(&refused, &["validation_failed"]),
        Ok((name, external_id, opening)) => {
            only(&["name", "external_id", "opening_balance"]);
            assert_eq!(name.map(|it| it.to_string()), text("name"));
            assert_eq!(external_id.map(|it| it.to_string()), text("external_id"));
            assert_eq!(opening.map(|it| it.to_string()), text("opening_balance"));
        }
    }
    match readers::deposit(input) {
        Err(refused) => fair(&refused, &["validation_failed"]),
        Ok((amount, _)) => {
            only(&["amount", "reference"]);
            assert!(!amount.is_zero());
            assert_eq!(Some(amount.to_string()), text("amount"));
        }
    }
}
