//! `flashdeal import users`: what a shop has before its first sale, in batches that are whole or
//! not at all, and as often as one likes.
//!
//! An opening balance is a deposit under [`KEY`], in the scope of its user: the key is claimed in
//! the batch's transaction, so a second run finds it and deposits nothing. It is the same key, with
//! the same fingerprint, as if the shop had sent it to `POST /api/users/{id}/wallet/deposits`.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::ExitCode;

use sqlx::{Connection, PgConnection};

use super::output::print;
use super::progress::Progress;
use super::user_file::{self, BadFile, UserFile, UserRow};
use crate::adapters::postgres::connect::BEGIN;
use crate::adapters::postgres::import_repo::{self as repo, FoundUser, NewUser, OpeningDeposit};
use crate::adapters::postgres::store_error;
use crate::app::commands::{Done, Failure, on_database};
use crate::app::config::Settings;
use crate::app::database::Database;
use crate::domain::id::UserId;
use crate::domain::key::{Fingerprint, IdempotencyKey, KeyRef, Operation};
use crate::domain::text::ShortText;
use crate::logic::ids::new_id;
use crate::logic::transact::pause_before;
use crate::ports::store::StoreError;

/// The key of every opening balance.
const KEY: &str = "flashdeal-import-opening-balance";
/// What the ledger says of it.
const REFERENCE: &str = "opening balance";
/// Rows in one transaction: few enough to be short, many enough that round trips do not count.
const BATCH: usize = 1_000;
/// How often a batch is tried that gave way to somebody else.
const ATTEMPTS_MAX: u32 = 5;
/// The longest list of contradictions that is worth reading.
const COMPLAINTS_MAX: u64 = 20;

/// Imports a file.
pub(in crate::app) async fn run(settings: &Settings, path: &Path) -> Done {
    let file = match user_file::check(path) {
        Ok(file) => file,
        Err(BadFile::Unreadable(reason)) => return Err(Failure::usage(reason)),
        Err(BadFile::Faulty(count, faults)) => {
            for fault in &faults {
                eprintln!("flashdeal: {fault}");
            }
            return Err(Failure::other(format_args!("{count} faults: nothing was imported")));
        }
    };
    on_database(settings, async |database| on(database, settings, &file).await).await
}

async fn on(database: &Database, settings: &Settings, file: &UserFile) -> Done {
    let pool = database.pool(settings);
    database.prepare(&pool, settings).await?;
    pool.close().await;
    let mut connection = database.unhurried(settings).await?;
    let mut progress = Progress::new("rows read", file.rows);
    let mut sum = Sum::default();
    let mut rows = file.read().map_err(Failure::other)?;
    loop {
        let batch: Result<Vec<UserRow>, String> = rows.by_ref().take(BATCH).collect();
        let batch = batch.map_err(|fault| {
            Failure::other(format_args!("the file changed while it was read: {fault}"))
        })?;
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { break };
        let lines = format!("lines {} to {}", first.line, last.line);
        let imported = import(&mut connection, &batch).await;
        let imported =
            imported.map_err(|error| Failure::other(format_args!("{lines}: {error}")))?;
        sum.add(imported, &progress);
        progress.show(sum.rows());
    }
    progress.finish(sum.rows());
    connection.close().await.map_err(Failure::other)?;
    let Sum { made, opened, unchanged, .. } = sum;
    let done = format!("{made} users made, {opened} opening balances, {unchanged} unchanged");
    print(&format!("{done}\n"))?;
    if sum.contradictions == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let (wrong, left) = (sum.contradictions, sum.left_out);
    Err(Failure::other(format_args!(
        "{wrong} rows contradict the database: {left} rows in their batches were left out; correct \
         the file and run it again"
    )))
}

/// How it went so far.
#[derive(Default)]
struct Sum {
    made: u64,
    opened: u64,
    unchanged: u64,
    left_out: u64,
    contradictions: u64,
}

/// How one batch went.
enum Imported {
    Whole { made: usize, opened: usize, unchanged: usize },
    LeftOut { rows: usize, contradictions: Vec<String> },
}

impl Sum {
    fn add(&mut self, batch: Imported, progress: &Progress) {
        match batch {
            Imported::Whole { made, opened, unchanged } => {
                self.made += made as u64;
                self.opened += opened as u64;
                self.unchanged += unchanged as u64;
            }
            Imported::LeftOut { rows, contradictions } => {
                for contradiction in contradictions {
                    if self.contradictions < COMPLAINTS_MAX {
                        progress.say(&format!("flashdeal: {contradiction}"));
                    }
                    self.contradictions += 1;
                }
                self.left_out += rows as u64;
            }
        }
    }

    fn rows(&self) -> u64 {
        self.made + self.unchanged + self.left_out
    }
}

/// One batch in one transaction, again after a pause when it had to give way.
async fn import(connection: &mut PgConnection, batch: &[UserRow]) -> Result<Imported, StoreError> {
    let mut attempt = 1;
    loop {
        match attempt_import(connection, batch).await {
            Err(StoreError::Retry { .. } | StoreError::LockTimeout { .. })
                if attempt < ATTEMPTS_MAX =>
            {
                tokio::time::sleep(pause_before(attempt)).await;
                attempt += 1;
            }
            done => return done,
        }
    }
}

async fn attempt_import(
    connection: &mut PgConnection,
    batch: &[UserRow],
) -> Result<Imported, StoreError> {
    let users: Vec<NewUser> = batch.iter().map(|row| row.user.clone()).collect();
    let deposits: Vec<OpeningDeposit> =
        users.iter().filter(|user| !user.balance.is_zero()).map(opening_deposit).collect();
    let mut transaction = connection.begin_with(BEGIN).await.map_err(store_error)?;
    let claimed: HashSet<UserId> =
        repo::claim(&mut transaction, &deposits).await?.into_iter().collect();
    let made: HashSet<UserId> = repo::insert(&mut transaction, &users).await?.into_iter().collect();
    let opened_later: Vec<UserId> = claimed.difference(&made).copied().collect();
    repo::lock_wallets(&mut transaction, &opened_later).await?;
    let there = There::read(&mut transaction, &users).await?;
    let contradictions: Vec<String> = batch
        .iter()
        .filter_map(|UserRow { line, user }| {
            let what = there.contradiction_of(user, claimed.contains(&user.id))?;
            Some(format!("line {line}: {what}"))
        })
        .collect();
    if !contradictions.is_empty() {
        transaction.rollback().await.map_err(store_error)?;
        return Ok(Imported::LeftOut { rows: batch.len(), contradictions });
    }
    let due: Vec<&OpeningDeposit> =
        deposits.iter().filter(|deposit| claimed.contains(&deposit.user_id)).collect();
    repo::open_wallets(&mut transaction, &due, REFERENCE).await?;
    transaction.commit().await.map_err(store_error)?;
    Ok(Imported::Whole {
        made: made.len(),
        opened: due.len(),
        unchanged: batch.len() - made.len() - opened_later.len(),
    })
}

fn key() -> IdempotencyKey {
    IdempotencyKey::parse(KEY.as_bytes()).expect("visible ASCII")
}

/// The deposit of a row, as `POST /api/users/{id}/wallet/deposits` would understand it.
fn opening_deposit(user: &NewUser) -> OpeningDeposit {
    let operation = Operation::CreateDeposit;
    let fingerprint = Fingerprint::of(operation)
        .part("user_id", user.id)
        .part("amount", user.balance)
        .optional("reference", Some(REFERENCE));
    OpeningDeposit {
        user_id: user.id,
        amount: user.balance,
        entry_id: new_id(),
        key: KeyRef::of_user(user.id, operation, key()),
        fingerprint: fingerprint.finish(),
    }
}

/// What the database has where the rows want to be.
struct There {
    users: HashMap<UserId, FoundUser>,
    owners: HashMap<String, UserId>,
}

impl There {
    async fn read(connection: &mut PgConnection, users: &[NewUser]) -> Result<There, StoreError> {
        let ids: Vec<UserId> = users.iter().map(|user| user.id).collect();
        let found = repo::find(connection, &ids, &key(), Operation::CreateDeposit).await?;
        let found: HashMap<UserId, FoundUser> =
            found.into_iter().map(|user| (user.id, user)).collect();
        // Who could not be written, and is not there, has an external id that is taken.
        let missing = users.iter().filter(|user| !found.contains_key(&user.id));
        let taken: Vec<String> =
            missing.filter_map(|user| Some(user.external_id.as_ref()?.to_string())).collect();
        let owners = match taken.as_slice() {
            [] => Vec::new(),
            taken => repo::owners(connection, taken).await?,
        };
        Ok(There { users: found, owners: owners.into_iter().collect() })
    }

    /// Why a row cannot be true beside what is there; `None` when it can.
    fn contradiction_of(&self, user: &NewUser, key_was_free: bool) -> Option<String> {
        let id = user.id;
        let Some(found) = self.users.get(&id) else {
            let external_id = user.external_id.as_ref().map_or("", |text| text.as_str());
            let owner = self.owners.get(external_id).map(ToString::to_string);
            let owner = owner.unwrap_or_else(|| "nobody".to_owned());
            return Some(format!("external_id {external_id:?} belongs to user {owner}"));
        };
        let texts = [
            ("external_id", &found.external_id, &user.external_id),
            ("name", &found.name, &user.name),
        ];
        for (column, stored, said) in texts {
            if stored != said {
                let (stored, said) = (quoted(stored), quoted(said));
                return Some(format!("user {id} has {column} {stored}, the file says {said}"));
            }
        }
        match found.opened_with {
            Some(amount) if amount != user.balance => Some(format!(
                "user {id} was imported with {amount}, the file says {}",
                user.balance
            )),
            None if key_was_free && found.entry_count > 0 => Some(format!(
                "the wallet of user {id} has {} entries and was not opened by an import: use a \
                 deposit",
                found.entry_count
            )),
            _ => None,
        }
    }
}

fn quoted(text: &Option<ShortText>) -> String {
    text.as_ref().map_or_else(|| "none".to_owned(), |text| format!("{:?}", text.as_str()))
}
