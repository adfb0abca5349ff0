//! `docker-compose.yml` keeps the seeds' profiles and ports, and publishes nothing beyond loopback.
//!
//! `docker-compose config` does not show it: docker-compose 1 prints every service whatever
//! `--profile` says. So the file itself is read. That it starts is for a container engine to show.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

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
}

fn services() -> BTreeMap<String, Service> {
    let text = include_str!("../../../docker-compose.yml");
    let compose: Compose = serde_saphyr::from_str(text).expect("docker-compose.yml is YAML");
    compose.services
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
    let set = |names: &[&str]| -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    };
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
