//! What the domain looks like on the wire: `snake_case`, money as strings, moments with six
//! decimals and `Z`, members without a value left out.

use std::fmt::Display;

use chrono::SecondsFormat;
use serde::{Serialize, Serializer};

use crate::domain::Instant;
use crate::domain::books::{Audit, Discrepancy};
use crate::domain::id::{OrderId, SaleId, UserId};
use crate::domain::ledger::{EntryKind, LedgerEntry};
use crate::domain::money::Money;
use crate::domain::order::Order;
use crate::domain::sale::Sale;
use crate::domain::user::User;
use crate::ports::read::WalletView;

/// RFC 3339 in UTC with microseconds.
pub(super) fn instant(at: Instant) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Something as a string that is written where it belongs, without one of its own in between.
#[derive(Debug)]
struct Shown<T>(T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// `Order` of `openapi.yaml`.
#[derive(Debug, Serialize)]
pub(super) struct OrderDto<'a> {
    id: Shown<OrderId>,
    user_id: Shown<UserId>,
    sale_id: Shown<SaleId>,
    quantity: u32,
    unit_price: Shown<Money>,
    total: Shown<Money>,
    currency: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    balance_after: Shown<Money>,
    created_at: String,
}

impl<'a> OrderDto<'a> {
    /// The receipt. Only what never changes, so that it is the same bytes every time.
    pub(super) fn new(order: &'a Order, currency: &'a str) -> OrderDto<'a> {
        OrderDto {
            id: Shown(order.id),
            user_id: Shown(order.user_id),
            sale_id: Shown(order.sale_id),
            quantity: order.quantity.units(),
            unit_price: Shown(order.unit_price),
            total: Shown(order.total),
            currency,
            status: "confirmed",
            reference: order.reference.as_ref().map(|text| text.as_str()),
            balance_after: Shown(order.balance_after),
            created_at: instant(order.created_at),
        }
    }
}

/// `User` of `openapi.yaml`.
#[derive(Debug, Serialize)]
pub(super) struct UserDto<'a> {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    created_at: String,
}

impl<'a> UserDto<'a> {
    /// A user.
    pub(super) fn new(user: &'a User) -> UserDto<'a> {
        UserDto {
            id: user.id.to_string(),
            external_id: user.external_id.as_ref().map(|text| text.as_str()),
            name: user.name.as_ref().map(|text| text.as_str()),
            created_at: instant(user.created_at),
        }
    }
}

/// `Wallet` of `openapi.yaml`.
#[derive(Debug, Serialize)]
pub(super) struct WalletDto<'a> {
    user_id: String,
    currency: &'a str,
    balance: String,
    updated_at: String,
}

impl<'a> WalletDto<'a> {
    /// A wallet.
    pub(super) fn new(view: &WalletView, currency: &'a str) -> WalletDto<'a> {
        WalletDto {
            user_id: view.wallet.user_id.to_string(),
            currency,
            balance: view.wallet.balance.to_string(),
            updated_at: instant(view.updated_at),
        }
    }
}

/// `Entry` of `openapi.yaml`.
#[derive(Debug, Serialize)]
pub(super) struct EntryDto<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    amount: String,
    balance_after: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    created_at: String,
}

impl<'a> EntryDto<'a> {
    /// A ledger entry; what leaves the wallet is negative.
    pub(super) fn new(entry: &'a LedgerEntry) -> EntryDto<'a> {
        let (amount, order_id) = match entry.kind {
            EntryKind::Deposit => (entry.amount.to_string(), None),
            EntryKind::Order(order) if entry.amount.is_zero() => {
                (entry.amount.to_string(), Some(order))
            }
            EntryKind::Order(order) => (format!("-{}", entry.amount), Some(order)),
        };
        EntryDto {
            id: entry.id.to_string(),
            kind: entry.kind.name(),
            amount,
            balance_after: entry.balance_after.to_string(),
            order_id: order_id.map(|id| id.to_string()),
            reference: entry.reference.as_ref().map(|text| text.as_str()),
            created_at: instant(entry.created_at),
        }
    }
}

/// `Sale` of `openapi.yaml`.
#[derive(Debug, Serialize)]
pub(super) struct SaleDto<'a> {
    id: String,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sku: Option<&'a str>,
    currency: &'a str,
    unit_price: String,
    stock: u32,
    stock_initial: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_user_limit: Option<u32>,
    starts_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<String>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sold_out_at: Option<String>,
    created_at: String,
}

impl<'a> SaleDto<'a> {
    /// A sale as it is at `now`.
    pub(super) fn new(sale: &'a Sale, now: Instant, currency: &'a str) -> SaleDto<'a> {
        SaleDto {
            id: sale.id.to_string(),
            name: sale.name.as_str(),
            sku: sale.sku.as_ref().map(|text| text.as_str()),
            currency,
            unit_price: sale.unit_price.to_string(),
            stock: sale.stock,
            stock_initial: sale.stock_initial,
            per_user_limit: sale.per_user_limit,
            starts_at: instant(sale.starts_at),
            ends_at: sale.ends_at.map(instant),
            status: sale.status(now).name(),
            sold_out_at: sale.sold_out_at.map(instant),
            created_at: instant(sale.created_at),
        }
    }
}

/// `Audit` of `openapi.yaml`, also printed by `flashdeal verify --json`.
#[derive(Debug, Serialize)]
pub struct AuditDto<'a> {
    balanced: bool,
    checked_at: String,
    sales: i64,
    wallets: i64,
    orders: i64,
    discrepancies: Vec<DiscrepancyDto<'a>>,
}

#[derive(Debug, Serialize)]
struct DiscrepancyDto<'a> {
    law: &'a str,
    subject: &'a str,
    expected: &'a str,
    actual: &'a str,
}

impl<'a> AuditDto<'a> {
    /// A report.
    pub fn new(audit: &'a Audit) -> AuditDto<'a> {
        let line = |found: &'a Discrepancy| DiscrepancyDto {
            law: &found.law,
            subject: &found.subject,
            expected: &found.expected,
            actual: &found.actual,
        };
        AuditDto {
            balanced: audit.balanced(),
            checked_at: instant(audit.checked_at),
            sales: audit.sales,
            wallets: audit.wallets,
            orders: audit.orders,
            discrepancies: audit.discrepancies.iter().map(line).collect(),
        }
    }
}

/// A list of `openapi.yaml`.
#[derive(Debug, Serialize)]
pub(super) struct ListDto<T> {
    /// The page.
    pub(super) items: Vec<T>,
    /// Where the next page begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_cursor: Option<String>,
}
