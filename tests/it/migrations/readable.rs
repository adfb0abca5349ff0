//! Migration 6: what the program could not read back is refused where it is stored, by whom ever,
//! and what was stored before keeps neither an upgrade nor a sale from going on.

use flashdeal::adapters::postgres::schema;
use flashdeal::domain::text::ShortText;
use sqlx::{AssertSqlSafe, PgConnection};

use super::BACK_TO_ONE;
use crate::support::Service;
use crate::support::api::new_key;
use crate::support::locks::{execute, run};
use crate::support::postgres::TestDatabase;
use crate::support::service::assert_balanced;

/// The constraint that refuses a statement; `None` when it is done.
async fn refused_by(session: &mut PgConnection, statement: String) -> Option<String> {
    let done = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(session).await;
    let error = done.err()?;
    let refusal = error.as_database_error().unwrap_or_else(|| panic!("{statement}: {error}"));
    assert_eq!(refusal.code().as_deref(), Some("23514"), "{statement}: {error}");
    Some(refusal.constraint().unwrap_or_default().to_owned())
}

/// A user and a sale with these columns.
fn made(columns: &str, values: &str) -> [String; 2] {
    [
        format!("INSERT INTO users (id, {columns}) VALUES (gen_random_uuid(), {values})"),
        format!(
            "INSERT INTO sales (id, unit_price, stock, stock_initial, {columns})
             VALUES (gen_random_uuid(), 1, 1, 1, {values})"
        ),
    ]
}

#[tokio::test]
async fn the_schema_refuses_the_texts_that_the_domain_refuses_and_no_others() {
    let database = TestDatabase::create().await;
    execute(&database, &made("name, starts_at", "'Lamp', clock_timestamp()")[1]).await;
    let mut session = database.session().await;
    let letters = ('\u{1}'..='\u{100}').chain(['€', '\u{2028}', '\u{feff}', '😀']);
    for letter in letters {
        let text = format!("a{letter}b");
        let quoted = format!("U&'a\\+{:06x}b'", u32::from(letter));
        run(&mut session, "BEGIN").await;
        for (table, column) in
            [("users", "name"), ("users", "external_id"), ("sales", "name"), ("sales", "sku")]
        {
            let statement = match table {
                "users" => made(column, &quoted)[0].clone(),
                _ => format!("UPDATE sales SET {column} = {quoted}"),
            };
            run(&mut session, "SAVEPOINT here").await;
            let refused = refused_by(&mut session, statement).await;
            let wanted = ShortText::parse(&text).err().map(|_| match table {
                "users" => "users_texts_readable".to_owned(),
                _ => "sales_readable".to_owned(),
            });
            assert_eq!(refused, wanted, "{table}.{column} = {text:?}");
            run(&mut session, "ROLLBACK TO here").await;
        }
        run(&mut session, "ROLLBACK").await;
    }
    assert_balanced(&database).await;
}

#[tokio::test]
async fn a_moment_that_the_program_cannot_read_is_not_stored() {
    let service = Service::start().await;
    let sale = service.api.sale("1.00", 5).await;
    let mut session = service.database.session().await;
    for bad in ["infinity", "-infinity", "10000-01-01 00:00:00+00", "0001-12-31 23:59:59+00 BC"] {
        let [user, _] = made("created_at", &format!("'{bad}'"));
        let refused = refused_by(&mut session, user).await;
        assert_eq!(refused.as_deref(), Some("users_created_at_readable"), "{bad}");
        let opens = format!("'Lamp', clock_timestamp(), '{bad}'");
        let [_, sold] = made("name, starts_at, created_at", &opens);
        let moved = |column: &str| format!("UPDATE sales SET {column} = '{bad}'");
        // No window ends before it begins, says a constraint of the foundation.
        let windows = if bad.starts_with('-') || bad.ends_with("BC") {
            vec![moved("starts_at")]
        } else {
            vec![moved("ends_at"), format!("{}, ends_at = NULL", moved("starts_at"))]
        };
        for statement in windows.into_iter().chain([sold, moved("created_at")]) {
            let refused = refused_by(&mut session, statement.clone()).await;
            assert_eq!(refused.as_deref(), Some("sales_readable"), "{statement}");
        }
    }
    run(&mut session, "UPDATE sales SET ends_at = '9999-12-31 23:59:59.999999+00'").await;
    service.api.get("/api/sales").await.expect(200);
    let buyer = service.api.user("1.00").await;
    service.api.buy(&new_key(), &buyer, &sale).await.expect(201);
    service.finish().await;
}

#[tokio::test]
async fn what_was_stored_before_keeps_neither_an_upgrade_nor_a_sale_from_going_on() {
    let database = TestDatabase::create().await;
    execute(&database, BACK_TO_ONE).await;
    let far = "name, starts_at, ends_at";
    let [_, sale] = made(far, "'Lamp', clock_timestamp(), '20000-01-01 00:00:00+00'");
    let user = "WITH u AS (INSERT INTO users (id, name) VALUES (gen_random_uuid(), E'a\\nb')
                           RETURNING id)
                INSERT INTO wallets (user_id, balance) SELECT id, 0 FROM u";
    execute(&database, &sale).await;
    execute(&database, user).await;
    let pool = database.pool().await;
    schema::migrate(&pool).await.expect("an upgrade");
    pool.close().await;

    let mut session = database.session().await;
    run(&mut session, "UPDATE sales SET stock = stock - 1, order_count = order_count + 1").await;
    run(&mut session, "UPDATE sales SET stock = stock + 1, order_count = order_count - 1").await;
    let renamed = refused_by(&mut session, "UPDATE sales SET name = 'Desk'".to_owned()).await;
    assert_eq!(renamed.as_deref(), Some("sales_readable"));
    let moved = "UPDATE users SET created_at = clock_timestamp()".to_owned();
    assert_eq!(refused_by(&mut session, moved).await.as_deref(), Some("users_texts_readable"));
    assert_balanced(&database).await;
}
