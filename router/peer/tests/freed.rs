//! A closed connection leaves nothing. Alone in its process, for it counts the process's descriptors.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use remotemedia_peer::{Connection, Event, Kind, Role, SenderSpec, Settings};
use std::time::Duration;
use tokio::sync::mpsc;

const CONNECTIONS: usize = 50;

fn descriptors() -> usize {
    procfs::process::Process::myself().unwrap().fd_count().unwrap()
}

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// A connected pair, or with `half` one whose offer nobody answered. The owner does not read: its channel fills up.
async fn pair(half: bool) -> (Vec<Connection>, Vec<mpsc::Receiver<Event>>) {
    let (to_a, mut a_events) = mpsc::channel(64);
    let (to_b, b_events) = mpsc::channel(2);
    let a = Connection::new(Settings { role: Role::Offerer, ..Settings::default() }, to_a)
        .await
        .unwrap();
    let b = Connection::new(Settings::default(), to_b).await.unwrap();
    let spec = |kind| SenderSpec { kind, stream: "s".into(), track: "t".into() };
    a.add_sender(spec(Kind::Video)).await.unwrap();
    a.add_sender(spec(Kind::Audio)).await.unwrap();
    a.open_data("echo").await.unwrap();
    let offer = a.offer(false).await.unwrap();
    if !half {
        let answer = b.answer(&offer).await.unwrap();
        a.accept(&answer).await.unwrap();
        loop {
            match a_events.recv().await.unwrap() {
                Event::Candidate(candidate) => b.add_candidate(candidate).await.unwrap(),
                Event::DataOpen { .. } => break,
                _ => {}
            }
        }
    }
    (vec![a, b], vec![a_events, b_events])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_connections_leave_no_task_and_no_descriptor() {
    let (first, _) = pair(false).await; // what the process keeps for ever is there now
    for connection in first {
        connection.close().await;
    }
    settled(usize::MAX, usize::MAX).await;
    let (before_descriptors, before_tasks) = (descriptors(), tasks());

    let mut all = Vec::new();
    for index in 0..CONNECTIONS / 2 {
        all.push(pair(index % 5 == 4).await);
    }
    assert!(descriptors() >= before_descriptors + CONNECTIONS);
    assert!(tasks() > before_tasks + CONNECTIONS);
    for (index, (connections, events)) in all.into_iter().enumerate() {
        for connection in connections {
            if index % 2 == 0 {
                connection.close().await;
                connection.close().await;
                assert!(connection.offer(false).await.is_err());
            }
            // the others are merely forgotten
        }
        drop(events);
    }
    settled(before_descriptors, before_tasks).await;
}

/// Forgotten connections close themselves in tasks of the runtime.
async fn settled(most_descriptors: usize, most_tasks: usize) {
    let settled = tokio::time::timeout(Duration::from_secs(20), async {
        while descriptors() > most_descriptors || tasks() > most_tasks {
            tokio::task::yield_now().await;
        }
    });
    let reached = settled.await;
    println!("{} descriptors, {} tasks", descriptors(), tasks());
    assert!(reached.is_ok(), "not more than {most_descriptors} and {most_tasks} remain");
}
