//! `flashdeal report`: one sale in figures, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

use chrono::TimeDelta;
use serde::Serialize;
use sqlx::Connection;

use super::metrics_page;
use super::output::{instant, print};
use crate::adapters::postgres::report_repo::{Peak, SaleReport, report};
use crate::adapters::postgres::schema;
use crate::app::cli::ReportArgs;
use crate::app::commands::{Done, Failure, on_books};
use crate::app::config::Settings;
use crate::app::database::Database;
use crate::domain::books::Discrepancy;
use crate::domain::id::SaleId;

/// What counters of a service cover.
const SCOPE: &str = "the whole service since its start, all sales together";
/// Outcomes that are no refusals.
const ORDERS: [&str; 2] = ["confirmed", "replayed"];

/// Reports on a sale.
pub(in crate::app) async fn run(settings: &Settings, args: &ReportArgs) -> Done {
    let sale = sale_id(&args.sale)?;
    on_books(settings, async |database| on(database, settings, args, sale).await).await
}

/// Reads `--sale`.
pub(super) fn sale_id(text: &str) -> Result<SaleId, Failure> {
    SaleId::parse(text).ok_or_else(|| Failure::usage(format!("--sale {text}: is no UUID")))
}

/// Refuses a database of another version.
pub(super) async fn check_schema(database: &Database, settings: &Settings) -> Result<(), Failure> {
    let pool = database.pool(settings);
    let checked = schema::check_version(&pool).await;
    pool.close().await;
    checked.map_err(Failure::other)
}

async fn on(database: &Database, settings: &Settings, args: &ReportArgs, sale: SaleId) -> Done {
    check_schema(database, settings).await?;
    let mut connection = database.unhurried(settings).await?;
    let found = report(&mut connection, sale).await.map_err(Failure::other)?;
    connection.close().await.map_err(Failure::other)?;
    let found = found.ok_or_else(|| Failure::other(format_args!("no sale has the id {sale}")))?;
    let refusals = match &args.metrics_url {
        Some(url) => metrics_page::outcomes(url).await,
        None => Err("name a running service with --metrics-url".to_owned()),
    };
    let report = Report::new(sale, &found, refusals)?;
    if args.json {
        let text = serde_json::to_string_pretty(&report).map_err(Failure::other)?;
        print(&format!("{text}\n"))?;
    } else {
        print(&report.text())?;
    }
    let balanced = report.books.balanced;
    Ok(if balanced { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The report as it is printed; members without a value are left out.
#[derive(Debug, Serialize)]
struct Report<'a> {
    sale_id: String,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sku: Option<&'a str>,
    taken_at: String,
    currency: &'a str,
    unit_price: String,
    stock_initial: i32,
    stock: i32,
    orders: i64,
    units: i64,
    buyers: i64,
    revenue: String,
    starts_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_order_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_order_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sold_out_at: Option<String>,
    /// From the opening to the last unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_to_sold_out: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak: Option<PeakDto>,
    refusals: Refusals,
    books: BooksDto,
}

#[derive(Debug, Serialize)]
struct PeakDto {
    second: String,
    orders: i64,
    units: i64,
}

/// Refusals by code, or why they are not known.
#[derive(Debug, Serialize)]
struct Refusals {
    known: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_code: Option<BTreeMap<String, u64>>,
}

#[derive(Debug, Serialize)]
struct BooksDto {
    balanced: bool,
    discrepancies: Vec<DiscrepancyDto>,
}

#[derive(Debug, Serialize)]
struct DiscrepancyDto {
    law: String,
    subject: String,
    expected: String,
    actual: String,
}

impl<'a> Report<'a> {
    fn new(
        id: SaleId,
        found: &'a SaleReport,
        outcomes: Result<BTreeMap<String, u64>, String>,
    ) -> Result<Report<'a>, Failure> {
        let SaleReport { sale, sold, .. } = found;
        let took = sale.sold_out_at.map(|end| end - sale.starts_at);
        Ok(Report {
            sale_id: id.to_string(),
            name: &sale.name,
            sku: sale.sku.as_deref(),
            taken_at: instant(found.taken_at),
            currency: &found.currency,
            unit_price: found.unit_price().map_err(Failure::other)?.to_string(),
            stock_initial: sale.stock_initial,
            stock: sale.stock,
            orders: sold.orders,
            units: sold.units,
            buyers: sold.buyers,
            revenue: found.revenue().map_err(Failure::other)?.to_string(),
            starts_at: instant(sale.starts_at),
            ends_at: sale.ends_at.map(instant),
            first_order_at: sold.first_order_at.map(instant),
            last_order_at: sold.last_order_at.map(instant),
            sold_out_at: sale.sold_out_at.map(instant),
            seconds_to_sold_out: took.map(seconds),
            peak: found.peak.as_ref().map(PeakDto::new),
            refusals: Refusals::new(outcomes),
            books: BooksDto::new(&found.discrepancies),
        })
    }

    fn text(&self) -> String {
        let (mut text, currency) = (String::new(), self.currency);
        let mut line = |name: &str, value: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<13} {value}");
        };
        let none = || "none".to_owned();
        line("sale", &format!("{} ({})", self.name, self.sale_id));
        line("as of", &self.taken_at);
        let end = self.ends_at.as_ref().map_or_else(String::new, |end| format!(" to {end}"));
        line("open", &format!("from {}{end}", self.starts_at));
        let (units, all, left) = (self.units, self.stock_initial, self.stock);
        line("sold", &format!("{units} of {all} units, {left} left"));
        line("orders", &format!("{} by {} buyers", self.orders, self.buyers));
        line("revenue", &format!("{} {currency} at {} each", self.revenue, self.unit_price));
        line("first order", &self.first_order_at.clone().unwrap_or_else(none));
        line("last order", &self.last_order_at.clone().unwrap_or_else(none));
        let sold_out = match (&self.sold_out_at, &self.seconds_to_sold_out) {
            (Some(at), Some(took)) => format!("{at}, {took} s after the opening"),
            _ => "not yet".to_owned(),
        };
        line("sold out", &sold_out);
        let peak = self.peak.as_ref().map(|peak| {
            format!("{} orders ({} units) in second {}", peak.orders, peak.units, peak.second)
        });
        line("peak", &peak.unwrap_or_else(none));
        line("refusals", &self.refusals.text());
        line("books", if self.books.balanced { "balanced" } else { "not balanced" });
        for DiscrepancyDto { law, subject, expected, actual } in &self.books.discrepancies {
            line("", &format!("{law}: {subject}: expected {expected}, found {actual}"));
        }
        text
    }
}

fn seconds(took: TimeDelta) -> String {
    format!("{:.3}", took.as_seconds_f64())
}

impl PeakDto {
    fn new(peak: &Peak) -> PeakDto {
        PeakDto { second: instant(peak.second), orders: peak.orders, units: peak.units }
    }
}

impl Refusals {
    fn new(outcomes: Result<BTreeMap<String, u64>, String>) -> Refusals {
        match outcomes {
            Err(reason) => {
                Refusals { known: false, reason: Some(reason), scope: None, by_code: None }
            }
            Ok(mut outcomes) => {
                // Counters begin at zero; what never happened is no refusal.
                outcomes.retain(|outcome, count| *count > 0 && !ORDERS.contains(&outcome.as_str()));
                Refusals { known: true, reason: None, scope: Some(SCOPE), by_code: Some(outcomes) }
            }
        }
    }

    fn text(&self) -> String {
        let Some(by_code) = &self.by_code else {
            return format!("not known: {}", self.reason.as_deref().unwrap_or_default());
        };
        let words: Vec<String> =
            by_code.iter().map(|(code, count)| format!("{count} {code}")).collect();
        let listed = if words.is_empty() { "none".to_owned() } else { words.join(", ") };
        format!("{listed} ({SCOPE})")
    }
}

impl BooksDto {
    fn new(found: &[Discrepancy]) -> BooksDto {
        let discrepancies = found.iter().cloned().map(|discrepancy| {
            let Discrepancy { law, subject, expected, actual } = discrepancy;
            DiscrepancyDto { law, subject, expected, actual }
        });
        BooksDto { balanced: found.is_empty(), discrepancies: discrepancies.collect() }
    }
}
