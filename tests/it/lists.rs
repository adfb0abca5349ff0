//! Lists: order, filters, cursors that stay true under inserts.
