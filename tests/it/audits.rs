//! What an audit in the background needs from PostgreSQL: a check that is given up ends there too,
//! and what others sell is seen. When it runs and when it gives way is tested beside `app::audits`.

use std::time::Duration;

use flashdeal::adapters::postgres::reads::PgReads;
use flashdeal::adapters::postgres::store::Gate;
use flashdeal::ports::read::Reads;

use crate::support::Service;
use crate::support::api::new_key;
use crate::support::crowd::seed_buyers;
use crate::support::locks::{Held, WAITS, number, until};

/// Reads beside the service, as another instance has them.
async fn reads(service: &Service) -> PgReads {
    let gate = Gate::new(2, Duration::from_secs(1));
    let options = service.database.options().application_name("another instance");
    PgReads::new(service.database.pool().await, gate, options)
}

/// Its snapshot would keep the hot row's old versions, and its statement a core.
#[tokio::test]
async fn an_audit_that_is_given_up_ends_in_the_database_too() {
    let service = Service::start().await;
    let reads = reads(&service).await;
    let held = Held::by(&service.database, "LOCK TABLE orders IN ACCESS EXCLUSIVE MODE".to_owned());
    let held = held.await;
    let mut session = service.database.session().await;
    let waiting = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'another instance' AND {WAITS}"
    );
    let audit = tokio::spawn(async move { reads.audit().await });
    until("the audit is at a statement", async || number(&mut session, &*waiting).await == 1).await;
    audit.abort();
    until("its session is gone", async || number(&mut session, &*waiting).await == 0).await;
    held.release().await;
    service.finish().await;
}

#[tokio::test]
async fn what_another_instance_sells_is_seen() {
    let service = Service::start().await;
    let reads = reads(&service).await;
    let users = seed_buyers(&service.database, 1, "1000.00").await;
    let sale = service.api.sale("1.00", 1_000).await;
    let before = reads.rows_inserted().await.unwrap();
    // A session says what it wrote when it has been quiet for a second, or works for longer.
    until("orders are counted", async || {
        service.api.buy(&new_key(), &users[0], &sale).await.expect(201);
        reads.rows_inserted().await.unwrap() >= before + 3
    })
    .await;
    service.finish().await;
}
