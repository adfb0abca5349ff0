//! Places for connections: so many in all, and of those so many for one address.
//!
//! A full house waits in the kernel's backlog; an address that has its share is shown the door at
//! once, so that others find places. Trusted proxies have no share: behind one of their addresses
//! stands everybody, and only they can count who. Loopback has one only when its size was said.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::client_address::TrustedProxies;
use super::rates::network;
use crate::ports::signals;

/// Unless it is said, one address may have a quarter of all places. A venue whose phones share one
/// address needs many; three others must still be let in.
const SHARE: usize = 4;
/// A flood is worth a line now and then, not a line for each connection.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// The places of one listener.
pub(super) struct Places {
    all: Arc<Semaphore>,
    max: usize,
    per_address: Option<usize>,
    trusted: Arc<TrustedProxies>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    by_network: HashMap<IpAddr, usize>,
    said: Option<Instant>,
}

/// A place among all, for whoever comes next.
pub(super) struct Vacancy(OwnedSemaphorePermit);

/// A taken place; given back when it leaves scope.
pub(super) struct Place {
    places: Arc<Places>,
    network: Option<IpAddr>,
    _among_all: OwnedSemaphorePermit,
}

impl Places {
    /// `per_address`: how many one address may have, 0 for all, `None` for a quarter.
    pub(super) fn new(
        max: usize,
        per_address: Option<usize>,
        trusted: Arc<TrustedProxies>,
    ) -> Arc<Places> {
        let all = Arc::new(Semaphore::new(max));
        Arc::new(Places { all, max, per_address, trusted, taken: Mutex::default() })
    }

    /// Waits until there is a place; `None` never comes.
    pub(super) async fn vacancy(&self) -> Option<Vacancy> {
        Arc::clone(&self.all).acquire_owned().await.ok().map(Vacancy)
    }

    /// Gives a place to an address; `None` when it has its share.
    pub(super) fn take(self: &Arc<Self>, vacancy: Vacancy, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let share = self.share(address);
        let network = share.map(|_| network(address));
        if let Some((network, share)) = network.zip(share) {
            let mut taken = self.taken();
            let own = taken.by_network.entry(network).or_default();
            if *own >= share {
                taken.complain(network, share);
                metrics::counter!(signals::HTTP_CONNECTIONS_REFUSED).increment(1);
                return None;
            }
            *own += 1;
        }
        Some(Place { places: Arc::clone(self), network, _among_all: vacancy.0 })
    }

    /// How many places this address may have; `None` for as many as there are.
    fn share(&self, address: IpAddr) -> Option<usize> {
        match self.per_address {
            _ if self.trusted.trusts(address) => None,
            Some(0) => None,
            Some(said) => Some(said),
            None if address.is_loopback() => None,
            None => Some((self.max / SHARE).max(1)),
        }
    }

    /// How many are taken.
    pub(super) fn open(&self) -> usize {
        self.max - self.all.available_permits()
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn complain(&mut self, network: IpAddr, share: usize) {
        if self.said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
            self.said = Some(Instant::now());
            tracing::warn!(
                %network,
                share,
                "an address has all connections that one may have; if it is a proxy, name it in \
                 FLASHDEAL_TRUSTED_PROXIES"
            );
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(network) = self.network else {
            return;
        };
        let mut taken = self.places.taken();
        match taken.by_network.get_mut(&network) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.by_network.remove(&network)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many places for this address as it gets.
    async fn flood(places: &Arc<Places>, address: &str) -> Vec<Place> {
        let mut held = Vec::new();
        // A full house would wait for ever.
        while places.open() < places.max {
            let vacancy = places.vacancy().await.unwrap();
            match places.take(vacancy, address.parse().unwrap()) {
                Some(place) => held.push(place),
                None => break,
            }
        }
        held
    }

    #[tokio::test]
    async fn one_address_takes_its_share_and_others_still_come_in() {
        let trusted = Arc::new(TrustedProxies(vec!["10.0.0.0/8".parse().unwrap()]));
        let places = Places::new(16, None, trusted);
        let first = flood(&places, "203.0.113.1").await;
        assert_eq!((first.len(), places.open()), (4, 4));
        // The same address in its other spelling; the same /64 in another host.
        assert!(flood(&places, "::ffff:203.0.113.1").await.is_empty());
        let six = flood(&places, "2001:db8::1").await;
        assert_eq!(six.len(), 4);
        assert!(flood(&places, "2001:db8::2").await.is_empty());
        drop(first);
        assert_eq!(places.open(), 4);
        assert_eq!(flood(&places, "203.0.113.1").await.len(), 4, "what was given back");
        drop(six);
        // Behind a proxy and on this machine stands everybody: only the house is full.
        for everybody in ["10.1.2.3", "127.0.0.1", "::1"] {
            let held = flood(&places, everybody).await;
            assert_eq!((held.len(), places.open()), (16, 16), "{everybody}");
        }
        assert!(places.taken().by_network.is_empty(), "nothing is left behind");
    }

    #[tokio::test]
    async fn a_share_that_was_said_holds_on_loopback_and_never_for_a_proxy() {
        let trusted = || Arc::new(TrustedProxies(vec!["127.0.0.3/32".parse().unwrap()]));
        let places = Places::new(16, Some(2), trusted());
        assert_eq!(flood(&places, "127.0.0.1").await.len(), 2);
        assert_eq!(flood(&places, "::1").await.len(), 2);
        for (said, address) in [(2, "127.0.0.3"), (0, "203.0.113.1")] {
            let places = Places::new(16, Some(said), trusted());
            assert_eq!(flood(&places, address).await.len(), 16, "{address}");
        }
    }
}
