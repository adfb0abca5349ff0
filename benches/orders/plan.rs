//! Who is measured. A new engine, or another number of connections, is one line here.

use crate::options::Options;

/// What answers, and who drives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    /// HTTP at the real service with this engine (`FLASHDEAL_ENGINE`).
    Engine(&'static str),
    /// HTTP at the echo service: everything but a database.
    Echo,
    /// pgbench with the service's own statements.
    Statements,
    /// pgbench with one function call per order.
    FunctionCall,
}

/// One who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contender {
    /// The name in the report.
    pub(crate) name: &'static str,
    /// How it is driven.
    pub(crate) driver: Driver,
    /// At how many connections. Neighbours in this list are neighbours in time.
    connections: &'static [u16],
}

/// Names are unique: the report finds ratios by them.
pub(crate) const PESSIMISTIC: &str = "pessimistic";
pub(crate) const STATEMENTS: &str = "(a) pgbench, same statements";
pub(crate) const FUNCTION_CALL: &str = "(b) pgbench, one function call";
pub(crate) const ECHO: &str = "(c) echo";

/// Everybody, in the order of a round.
const CONTENDERS: &[Contender] = &[
    Contender {
        name: PESSIMISTIC,
        driver: Driver::Engine("pessimistic"),
        connections: &[1, 16, 64],
    },
    Contender { name: STATEMENTS, driver: Driver::Statements, connections: &[1, 16, 64] },
    Contender { name: FUNCTION_CALL, driver: Driver::FunctionCall, connections: &[1, 8, 32, 64] },
    Contender { name: ECHO, driver: Driver::Echo, connections: &[1, 16, 64] },
];

/// One contender at one number of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    /// Who.
    pub(crate) contender: Contender,
    /// Connections, each with one order at a time.
    pub(crate) connections: u16,
}

/// The cells of one round, fewest connections first, so that those who are compared at the same
/// number of connections follow each other.
pub(crate) fn cells(options: &Options) -> Vec<Cell> {
    let wanted = |contender: &&Contender| match &options.only {
        Some(text) => contender.name.contains(text.as_str()),
        None => true,
    };
    let mut cells: Vec<Cell> = Vec::new();
    for contender in CONTENDERS.iter().filter(wanted) {
        let own = contender.connections.to_vec();
        let asked = options.connections.clone();
        for connections in asked.unwrap_or(own) {
            cells.push(Cell { contender: *contender, connections });
        }
    }
    cells.sort_by_key(|cell| cell.connections);
    cells
}
