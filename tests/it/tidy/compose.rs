//! `docker-compose.yml` keeps the seeds' profiles and ports, publishes nothing beyond loopback, and
//! passes every setting on.
//!
//! `docker-compose config` does not show it: docker-compose 1 prints every service whatever
//! `--profile` says. So the file itself is read. That it starts is for a container engine to show.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::names::settings_in;

/// What is read of the file.
#[derive(Deserialize)]
struct Compose {
    services: BTreeMap<String, Service>,
}

/// What is read of a service; anchors and merges bring the rest.
#[derive(Deserialize)]
struct Service {
    /// Without any it always starts.
    #[serde(default)]
    profiles: BTreeSet<String>,
    /// `ADDRESS:PORT:PORT IN THE CONTAINER`.
    #[serde(default)]
    ports: Vec<String>,
    /// A bare name has what the shell or `.env` says, and is not there when neither does.
    #[serde(default)]
    environment: BTreeMap<String, Option<String>>,
}

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn services() -> BTreeMap<String, Service> {
    let text = read("docker-compose.yml");
    let compose: Compose = serde_saphyr::from_str(&text).expect("docker-compose.yml is YAML");
    compose.services
}

/// What compose makes of `${NAME:-default}` where nobody says anything.
fn unsaid(text: &str) -> String {
    let Some((before, rest)) = text.split_once("${") else {
        return text.to_owned();
    };
    let (name, after) = rest.split_once('}').expect("a closing brace");
    let (_name, default) = name.split_once(":-").expect("a name with a default");
    format!("{before}{default}{}", unsaid(after))
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn without_a_profile_it_is_the_database_alone_and_each_profile_adds_its_own() {
    let (mut always, mut added) = (BTreeSet::new(), BTreeMap::<String, BTreeSet<String>>::new());
    for (name, service) in services() {
        if service.profiles.is_empty() {
            always.insert(name.clone());
        }
        for profile in service.profiles {
            added.entry(profile).or_default().insert(name.clone());
        }
    }
    assert_eq!(always, set(&["postgres"]));
    let expected = [
        ("observability", set(&["grafana", "prometheus"])),
        ("service", set(&["flashdeal"])),
        ("tools", set(&["k6"])),
    ];
    let expected = expected.map(|(profile, names)| (profile.to_owned(), names));
    assert_eq!(added, BTreeMap::from(expected));
}

#[test]
fn the_published_ports_are_those_of_the_seeds_and_all_on_loopback() {
    let mut published = BTreeSet::new();
    for (name, service) in services() {
        for port in service.ports {
            let port = unsaid(&port);
            let (host, _inside) = port.rsplit_once(':').expect("a port of the host");
            published.insert((name.clone(), host.to_owned()));
        }
    }
    let expected = [
        ("flashdeal", "127.0.0.1:3000"),
        ("grafana", "127.0.0.1:3001"),
        ("postgres", "127.0.0.1:5432"),
        ("prometheus", "127.0.0.1:9090"),
    ];
    let expected = expected.map(|(name, host)| (name.to_owned(), host.to_owned()));
    assert_eq!(published, BTreeSet::from(expected));
}

/// What the file settles: where the service listens, and that it has no embedded server.
const SETTLED: [&str; 3] = ["FLASHDEAL_DATA_DIR", "FLASHDEAL_LISTEN", "FLASHDEAL_WAL_FILES"];

#[test]
fn what_stands_in_the_env_file_reaches_the_service() {
    let settings = settings_in(&read(".env.example"));
    assert!(set(&SETTLED).is_subset(&settings), "{SETTLED:?}: one of them is no setting");
    let service = services().remove("flashdeal").expect("the service");
    let is_passed_on = |(name, value): &(String, Option<String>)| match value {
        None => true,
        Some(value) => value.starts_with(&format!("${{{name}:-")),
    };
    let passed = service.environment.into_iter().filter(is_passed_on).map(|(name, _)| name);
    let expected: BTreeSet<String> = settings.difference(&set(&SETTLED)).cloned().collect();
    assert_eq!(passed.collect::<BTreeSet<_>>(), expected);
}
