//! Users and the money that comes in: making users with wallets, and deposits.

use std::time::Duration;

use tokio::time::Instant;

use super::fault::Fault;
use super::keyed::{Answer, Claimed, claim, found};
use super::transact::{Ending, Trouble, Work, transact};
use crate::domain::id::{EntryId, UserId};
use crate::domain::key::{Fingerprint, IdempotencyKey, KeyRef, Operation};
use crate::domain::ledger::{EntryKind, LedgerEntry};
use crate::domain::money::Money;
use crate::domain::refusal::Refusal;
use crate::domain::text::ShortText;
use crate::domain::user::User;
use crate::domain::wallet::Wallet;
use crate::logic::ids::new_id;
use crate::ports::store::{Store, Transaction};

/// A request for a user.
#[derive(Debug, Clone)]
pub struct CreateUser {
    /// The id the user gets.
    pub user_id: UserId,
    /// The shop's own id.
    pub external_id: Option<ShortText>,
    /// A display name.
    pub name: Option<ShortText>,
    /// Money the wallet begins with.
    pub opening_balance: Option<Money>,
    /// The key, required with an opening balance.
    pub key: Option<IdempotencyKey>,
}

/// A request for money to come in.
#[derive(Debug, Clone)]
pub struct Deposit {
    /// The id the entry gets.
    pub entry_id: EntryId,
    /// Into whose wallet.
    pub user_id: UserId,
    /// How much, more than nothing.
    pub amount: Money,
    /// The caller's own reference.
    pub reference: Option<ShortText>,
    /// The key.
    pub key: IdempotencyKey,
}

/// Makes a user and a wallet, with an opening deposit if one is asked for. An id that is taken
/// answers `Replayed` with the user who has it.
///
/// # Errors
/// A [`Fault`] when it could not be decided.
pub async fn create_user<S: Store>(
    store: &S,
    time_limit: Duration,
    request: CreateUser,
) -> Result<Answer<User>, Fault> {
    transact(store, Instant::now() + time_limit, &mut UserWork { request, tried: None }).await
}

/// Adds money to a wallet.
///
/// # Errors
/// A [`Fault`] when it could not be decided.
pub async fn deposit<S: Store>(
    store: &S,
    time_limit: Duration,
    request: Deposit,
) -> Result<Answer<LedgerEntry>, Fault> {
    transact(store, Instant::now() + time_limit, &mut DepositWork(request)).await
}

struct UserWork {
    request: CreateUser,
    /// What the last run wanted to commit: who is found again by id is ours only if it is the same.
    tried: Option<User>,
}

impl UserWork {
    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(Operation::CreateUser)
            .optional("external_id", self.request.external_id.as_ref())
            .optional("name", self.request.name.as_ref())
            // None and "0.00" make the same wallet.
            .optional("opening_balance", self.request.opening_balance.filter(|it| !it.is_zero()))
            .finish()
    }
}

impl<T: Transaction> Work<T> for UserWork {
    type Value = Answer<User>;
    const NAME: &'static str = "user";

    /// Without a key the id still is one: a second run finds the user of the first.
    async fn run(&mut self, transaction: &mut T) -> Result<Ending<Answer<User>>, Trouble> {
        if let Some(key) = &self.request.key {
            let key = KeyRef::of_installation(Operation::CreateUser, key.clone());
            let id = self.request.user_id.uuid();
            match claim(transaction, &key, self.fingerprint(), id).await? {
                Claimed::Ours => {}
                Claimed::Before { id, by_us } => {
                    let user = found(transaction.user(UserId::new(id)).await?, "user")?;
                    return Ok(Ending::Rollback(Answer::again(user, by_us)));
                }
                Claimed::Other(resource_id) => {
                    return Ok(Ending::Rollback(Answer::KeyReused { resource_id }));
                }
            }
        }
        let now = transaction.now().await?;
        let CreateUser { user_id, external_id, name, opening_balance, .. } = self.request.clone();
        let user = User { id: user_id, external_id, name, created_at: now };
        if !transaction.insert_user(&user).await? {
            let answer = match transaction.user(user_id).await? {
                Some(user) => {
                    let by_us = self.tried.as_ref() == Some(&user);
                    Answer::again(user, by_us)
                }
                None => Answer::Refused(Refusal::ExternalIdTaken),
            };
            return Ok(Ending::Rollback(answer));
        }
        if let Some(amount) = opening_balance.filter(|amount| !amount.is_zero()) {
            let mut wallet = Wallet { user_id, balance: Money::ZERO, entry_count: 0 };
            let entry = LedgerEntry {
                id: new_id(),
                user_id,
                number: 1,
                kind: EntryKind::Deposit,
                amount,
                balance_after: amount,
                reference: None,
                created_at: now,
            };
            wallet.apply(&entry);
            transaction.record_deposit(&entry, &wallet).await?;
        }
        self.tried = Some(user.clone());
        Ok(Ending::Commit(Answer::Made(user)))
    }
}

struct DepositWork(Deposit);

impl DepositWork {
    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(Operation::CreateDeposit)
            .part("user_id", self.0.user_id)
            .part("amount", self.0.amount)
            .optional("reference", self.0.reference.as_ref())
            .finish()
    }
}

impl<T: Transaction> Work<T> for DepositWork {
    type Value = Answer<LedgerEntry>;
    const NAME: &'static str = "deposit";

    async fn run(&mut self, transaction: &mut T) -> Result<Ending<Answer<LedgerEntry>>, Trouble> {
        let Deposit { entry_id, user_id, amount, reference, key } = self.0.clone();
        let key = KeyRef::of_user(user_id, Operation::CreateDeposit, key);
        match claim(transaction, &key, self.fingerprint(), entry_id.uuid()).await? {
            Claimed::Ours => {}
            Claimed::Before { id, by_us } => {
                let entry = found(transaction.deposit(EntryId::new(id)).await?, "deposit")?;
                return Ok(Ending::Rollback(Answer::again(entry, by_us)));
            }
            Claimed::Other(resource_id) => {
                return Ok(Ending::Rollback(Answer::KeyReused { resource_id }));
            }
        }
        let Some((mut wallet, now)) = transaction.lock_wallet(user_id).await? else {
            return Ok(Ending::Rollback(Answer::Refused(Refusal::UserNotFound)));
        };
        let Some(balance_after) = wallet.balance.plus(amount) else {
            let refusal = Refusal::BalanceLimitExceeded { balance: wallet.balance };
            return Ok(Ending::Rollback(Answer::Refused(refusal)));
        };
        let entry = LedgerEntry {
            id: entry_id,
            user_id,
            number: wallet.entry_count + 1,
            kind: EntryKind::Deposit,
            amount,
            balance_after,
            reference,
            created_at: now,
        };
        wallet.apply(&entry);
        transaction.record_deposit(&entry, &wallet).await?;
        Ok(Ending::Commit(Answer::Made(entry)))
    }
}
