//! The integration tests: one binary, one PostgreSQL server, one database for each test, every
//! answer held against `openapi.yaml`, every test ended with the books balanced.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report, in helpers too")]
#![allow(clippy::type_complexity, reason = "tables of cases are read where they stand")]

mod support;

mod audits;
mod auth;
mod cli;
mod commit_unknown;
mod contract;
mod crash;
mod disconnects;
mod embedded;
mod faults;
mod fuzz;
mod grouped;
mod held_sale;
mod http_edges;
mod isolation;
mod laws;
mod lists;
mod lock_order;
mod logs;
mod migrations;
mod model;
mod operate;
mod orders;
mod pooler;
mod portable;
mod privileges;
mod properties;
mod rates;
mod references;
mod sales;
mod sales_board;
mod secrets;
mod servers;
mod shutdown;
mod sold_out;
mod stampede;
mod store_contract;
mod tidy;
mod twins;
mod users;
mod wallets;
