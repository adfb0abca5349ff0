//! Many buyers, few items: exactly as many orders as items.
