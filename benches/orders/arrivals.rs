//! The open loop: requests arrive when they arrive, whoever is still waiting. A latency counts from
//! the moment of arrival, so a slow answer cannot hide behind the requests that it kept from being
//! sent, and neither can a generator that comes late.
//!
//! One thread and one task do it all: they share the cores with what they measure, and whatever a
//! wake of another thread costs would be taken from there.

use std::collections::VecDeque;
use std::iter::{self, Peekable};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Builder;
use tokio::task::spawn_blocking;

use flashdeal::adapters::http::{HttpClient, HttpReply};

use crate::Outcome;
use crate::load::{Answers, Load};
use crate::timer::Timer;

/// How often it is woken by arrivals at most. A wake costs more than a request, on cores that the
/// service needs as well; who is sent later by that has waited since his arrival all the same.
const LOOKED_EVERY: Duration = Duration::from_micros(500);

/// Poisson arrivals for as long as the load lasts, each on the connection that has rested longest.
/// Whoever finds none waits, and his latency counts from his arrival.
pub(crate) async fn drive(load: &Load, per_second: f64) -> Outcome<Answers> {
    let load = load.clone();
    let alone = spawn_blocking(move || {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let clients = load.connect().await?;
            load.answered(ask_as_they_arrive(&load, clients, per_second)).await
        })
    });
    alone.await?
}

async fn ask_as_they_arrive(
    load: &Load,
    clients: Vec<HttpClient>,
    per_second: f64,
) -> Outcome<Answers> {
    let began = Instant::now();
    let mut arrivals = poisson(began, load.lasting, per_second).peekable();
    // Boxed: a connection is large, and goes through here with each request.
    let mut free: VecDeque<_> = clients.into_iter().map(Box::new).collect();
    let mut under_way = FuturesUnordered::new();
    let mut answers = Answers::default();
    let mut timer = Timer::new()?;
    let mut looked = began;
    loop {
        while let Some((client, arrived)) = next(&mut free, &mut arrivals) {
            under_way.push(ask(load, client, arrived));
        }
        // Whoever has arrived already waits for a connection, which an answer sets free.
        let awaited = arrivals.peek().copied().filter(|_| !free.is_empty());
        let awaited = awaited.map(|at| at.max(looked + LOOKED_EVERY));
        tokio::select! {
            biased;
            Some(answered) = under_way.next() => {
                let (client, arrived, reply) = answered?;
                answers.add(load, &reply, began, arrived, Instant::now());
                free.push_back(client);
            }
            waited = timer.until(awaited.unwrap_or(began)), if awaited.is_some() => {
                waited?;
                looked = Instant::now();
            }
            else => return Ok(answers),
        }
    }
}

/// Who has arrived and has a connection.
fn next(
    free: &mut VecDeque<Box<HttpClient>>,
    arrivals: &mut Peekable<impl Iterator<Item = Instant>>,
) -> Option<(Box<HttpClient>, Instant)> {
    let arrived = arrivals.next_if(|at| !free.is_empty() && *at <= Instant::now())?;
    free.pop_front().map(|client| (client, arrived))
}

async fn ask(
    load: &Load,
    mut client: Box<HttpClient>,
    arrived: Instant,
) -> Outcome<(Box<HttpClient>, Instant, HttpReply)> {
    let reply = client.send(load.request()).await?;
    Ok((client, arrived, reply))
}

/// The moments of arrivals: gaps of a Poisson process are exponential.
fn poisson(began: Instant, lasting: Duration, per_second: f64) -> impl Iterator<Item = Instant> {
    let gap = move || Duration::from_secs_f64(-(1.0 - fastrand::f64()).ln() / per_second);
    let moments = iter::successors(Some(began), move |at| Some(*at + gap()));
    moments.skip(1).take_while(move |at| *at - began <= lasting)
}
