//! Wallets: deposits, entries, limits of a balance.
