//! Who may do what: roles, own and foreign things, tokens that are none.
