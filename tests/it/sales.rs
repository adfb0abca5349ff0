//! Sales: opening them, their status, lists.
