//! The way of events out of the stack's callbacks, which must never wait, into the owner's bounded channel.
//!
//! Packets go straight into the channel and are dropped and counted when it is full. All else goes through a queue that
//! one task empties as fast as the owner reads: what happened in its order, reports merged to the newest of their kind.

use crate::event::{Event, PacketFate, ReceiverId, SenderId};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, mpsc};

/// Things that happened and were not read yet. A connection has some tens in its life, candidates included; past it
/// further ones are counted as lost, for then its owner has not read for minutes.
const MAX_HAPPENED: usize = 1024;
/// Reports that wait: one for each sender and receiver of a connection.
const MAX_REPORTS: usize = 256;
/// Packet fates that wait; older ones go. A second of a 20 Mb/s stream.
const MAX_FATES: usize = 2048;

/// Something to tell, in its order.
#[derive(Debug)]
pub(crate) enum Happened {
    /// An event as it is.
    Event(Event),
    /// A track's begin, after which its packets may go.
    Track(ReceiverId, Event),
}

#[derive(Debug, Default)]
struct Queue {
    happened: VecDeque<Happened>,
    keyframes: Vec<SenderId>,
    reports: Vec<Event>,
    fates: VecDeque<PacketFate>,
}

/// The queues of one connection.
#[derive(Debug)]
pub(crate) struct Outbox {
    events: mpsc::Sender<Event>,
    queue: Mutex<Queue>,
    waiting: Notify,
    dropped: AtomicU64,
    lost: AtomicU64,
}

impl Outbox {
    pub(crate) fn new(events: mpsc::Sender<Event>) -> Self {
        Self {
            events,
            queue: Mutex::default(),
            waiting: Notify::new(),
            dropped: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A packet: now or never.
    pub(crate) fn packet(&self, event: Event) {
        if self.events.try_send(event).is_err() {
            self.drop_packet();
        }
    }

    pub(crate) fn drop_packet(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Packets that the owner did not read in time.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Other events that found no place.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(crate) fn happened(&self, happened: Happened) {
        let mut queue = self.queue();
        if queue.happened.len() < MAX_HAPPENED {
            queue.happened.push_back(happened);
            drop(queue);
            self.waiting.notify_one();
        } else {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn keyframe_wanted(&self, sender: SenderId) {
        let mut queue = self.queue();
        if !queue.keyframes.contains(&sender) && queue.keyframes.len() < MAX_REPORTS {
            queue.keyframes.push(sender);
        }
        drop(queue);
        self.waiting.notify_one();
    }

    /// A [`Event::ReceiverReport`] or [`Event::SenderReport`]: takes the place of one of the same track that still waits.
    pub(crate) fn report(&self, report: Event) {
        let mut queue = self.queue();
        if let Some(old) = queue.reports.iter_mut().find(|old| about_the_same(old, &report)) {
            *old = report;
        } else if queue.reports.len() < MAX_REPORTS {
            queue.reports.push(report);
        }
        drop(queue);
        self.waiting.notify_one();
    }

    pub(crate) fn fates(&self, fates: impl Iterator<Item = PacketFate>) {
        let mut queue = self.queue();
        queue.fates.extend(fates);
        let over = queue.fates.len().saturating_sub(MAX_FATES);
        queue.fates.drain(..over);
        drop(queue);
        self.waiting.notify_one();
    }

    /// Hands over what waits, for ever; ends when the owner's channel is gone. `announced` is told of each track that the
    /// owner knows of now.
    pub(crate) async fn run(&self, announced: impl Fn(ReceiverId)) {
        loop {
            while let Some(next) = self.next() {
                let track = match &next {
                    Happened::Track(receiver, _) => Some(*receiver),
                    Happened::Event(_) => None,
                };
                let (Happened::Track(_, event) | Happened::Event(event)) = next;
                if self.events.send(event).await.is_err() {
                    return;
                }
                if let Some(receiver) = track {
                    announced(receiver);
                }
            }
            self.waiting.notified().await;
        }
    }

    fn next(&self) -> Option<Happened> {
        let mut queue = self.queue();
        if let Some(happened) = queue.happened.pop_front() {
            return Some(happened);
        }
        let event = if let Some(sender) = queue.keyframes.pop() {
            Event::KeyframeWanted(sender)
        } else if let Some(report) = queue.reports.pop() {
            report
        } else if queue.fates.is_empty() {
            return None;
        } else {
            Event::Transport(queue.fates.drain(..).collect())
        };
        Some(Happened::Event(event))
    }

    /// Waits for the owner; for tasks of their own, never in a callback. False = the owner is gone.
    pub(crate) async fn send(&self, event: Event) -> bool {
        self.events.send(event).await.is_ok()
    }

    /// Without waiting; for the last word of a connection.
    pub(crate) fn last(&self, event: Event) {
        if self.events.try_send(event).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn about_the_same(a: &Event, b: &Event) -> bool {
    match (a, b) {
        (Event::ReceiverReport { sender: a, .. }, Event::ReceiverReport { sender: b, .. }) => {
            a == b
        }
        (Event::SenderReport { receiver: a, .. }, Event::SenderReport { receiver: b, .. }) => {
            a == b
        }
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn an_owner_that_does_not_read_costs_packets_but_no_other_event() {
        let (events, mut owner) = mpsc::channel(1);
        let outbox = Arc::new(Outbox::new(events));
        let task = tokio::spawn({
            let outbox = Arc::clone(&outbox);
            async move { outbox.run(|_| {}).await }
        });
        outbox.packet(Event::CandidatesDone); // fills the channel
        outbox.packet(Event::CandidatesDone);
        assert_eq!(outbox.dropped(), 1);
        for _ in 0..5 {
            outbox.keyframe_wanted(SenderId(1));
            for fraction_lost in [0.1, 0.5] {
                let sender = SenderId(1);
                outbox.report(Event::ReceiverReport {
                    sender,
                    fraction_lost,
                    jitter: 0,
                    round_trip: None,
                });
            }
        }
        outbox.happened(Happened::Event(Event::DataClosed(DATA)));
        let mut seen = Vec::new();
        while seen.len() < 4 {
            seen.push(owner.recv().await.unwrap());
        }
        assert_eq!(seen[0], Event::CandidatesDone);
        assert_eq!(seen[1], Event::DataClosed(DATA));
        assert_eq!(seen[2], Event::KeyframeWanted(SenderId(1)));
        assert!(matches!(seen[3], Event::ReceiverReport { fraction_lost: 0.5, .. }));
        assert_eq!(outbox.lost(), 0);
        drop(owner);
        outbox.happened(Happened::Event(Event::CandidatesDone));
        task.await.unwrap();
    }

    const DATA: crate::event::DataId = crate::event::DataId(7);
}
