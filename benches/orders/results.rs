//! What was measured, as rows and figures: for the report, and as JSON for whoever draws.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::Outcome;
use crate::bars::Bar;
use crate::options::Section;
use crate::samples::median;

/// One cell: one contender at one number of connections in one round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    /// In which section.
    pub(crate) section: Section,
    /// Who.
    pub(crate) who: String,
    /// Connections (sessions, where there is no HTTP).
    pub(crate) connections: u16,
    /// In which round, from 0.
    pub(crate) round: u32,
    /// Answers that count, in each second of the counted part.
    pub(crate) per_second: f64,
    /// Latencies.
    pub(crate) p50_ms: f64,
    /// All but one in a hundred.
    pub(crate) p99_ms: f64,
    /// All but one in a thousand.
    pub(crate) p999_ms: f64,
    /// Answers that count, in the whole cell.
    pub(crate) answers: usize,
    /// Other answers, by status.
    pub(crate) others: BTreeMap<u16, u64>,
    /// Processor time of the service for one of them.
    pub(crate) service_cpu_ms: Option<f64>,
    /// Processor time of the database for one of them.
    pub(crate) database_cpu_ms: Option<f64>,
    /// Write-ahead log for one of them.
    pub(crate) wal_bytes: Option<f64>,
}

/// Any other number.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// In which section.
    pub(crate) section: Section,
    /// What.
    pub(crate) name: String,
    /// How much, in which round.
    pub(crate) values: Vec<f64>,
    /// Of what.
    pub(crate) unit: &'static str,
}

/// A whole run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    /// The command that makes it again.
    pub(crate) command: String,
    /// Lines about server and machine: name and value.
    pub(crate) settings: Vec<(&'static str, String)>,
    /// Cells.
    pub(crate) rows: Vec<Row>,
    /// Figures.
    pub(crate) figures: Vec<Figure>,
    /// Bars, met or not.
    pub(crate) bars: Vec<Bar>,
    /// How often the books were checked, and how many orders were in them.
    pub(crate) audits: Vec<(Section, i64)>,
    /// Sections that failed, and why.
    pub(crate) failures: Vec<(Section, String)>,
}

impl Results {
    /// Adds a figure, or one more value of it.
    pub(crate) fn figure(&mut self, section: Section, name: &str, value: f64, unit: &'static str) {
        let same = |figure: &&mut Figure| figure.section == section && figure.name == name;
        match self.figures.iter_mut().find(same) {
            Some(figure) => figure.values.push(value),
            None => {
                let name = name.to_owned();
                self.figures.push(Figure { section, name, values: vec![value], unit });
            }
        }
    }

    /// All values of a figure.
    pub(crate) fn values(&self, section: Section, name: &str) -> &[f64] {
        let same = |figure: &&Figure| figure.section == section && figure.name == name;
        self.figures.iter().find(same).map_or(&[], |figure| &figure.values)
    }

    /// The rounds of one contender.
    pub(crate) fn rounds<'a>(
        &'a self,
        section: Section,
        who: &'a str,
        connections: u16,
    ) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| {
            row.section == section && row.who == who && row.connections == connections
        })
    }

    /// The number of connections at which a contender's median rate is highest.
    pub(crate) fn best(&self, section: Section, who: &str) -> Option<u16> {
        let own = self.rows.iter().filter(|row| row.section == section && row.who == who);
        let rate = |connections: u16| {
            let rates = self.rounds(section, who, connections).map(|row| row.per_second);
            median(rates).unwrap_or_default()
        };
        own.map(|row| row.connections).max_by(|a, b| rate(*a).total_cmp(&rate(*b)))
    }

    /// The median of the ratios that two contenders had in the same round.
    pub(crate) fn ratio(
        &self,
        section: Section,
        own: (&str, u16),
        beside: (&str, u16),
        of: fn(&Row) -> f64,
    ) -> Option<f64> {
        median(self.rounds(section, own.0, own.1).filter_map(|row| {
            let mut others = self.rounds(section, beside.0, beside.1);
            let other = others.find(|other| other.round == row.round)?;
            Some(of(row) / of(other))
        }))
    }

    /// Writes everything down.
    pub(crate) fn save(&self, path: &Path) -> Outcome<()> {
        std::fs::write(path, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(())
    }
}
