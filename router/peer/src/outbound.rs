//! What we send, as the interceptors see it: which SSRC is which sender, and its clock.

use crate::event::SenderId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Which RTP time was which moment, of the newest packet; for sender reports.
#[derive(Debug, Default)]
pub(crate) struct MediaTime(Mutex<Option<(u32, u64)>>);

impl MediaTime {
    pub(crate) fn set(&self, rtp_time: u32, monotonic_ns: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((rtp_time, monotonic_ns));
    }

    pub(crate) fn get(&self) -> Option<(u32, u64)> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All senders of a connection by SSRC.
#[derive(Debug, Default)]
pub(crate) struct Outbound(Mutex<HashMap<u32, (SenderId, Arc<MediaTime>)>>);

impl Outbound {
    fn map(&self) -> MutexGuard<'_, HashMap<u32, (SenderId, Arc<MediaTime>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, ssrc: u32, sender: SenderId, time: Arc<MediaTime>) {
        self.map().insert(ssrc, (sender, time));
    }

    pub(crate) fn remove(&self, ssrc: u32) {
        self.map().remove(&ssrc);
    }

    pub(crate) fn sender(&self, ssrc: u32) -> Option<SenderId> {
        self.map().get(&ssrc).map(|(sender, _)| *sender)
    }

    pub(crate) fn time(&self, ssrc: u32) -> Option<Arc<MediaTime>> {
        self.map().get(&ssrc).map(|(_, time)| Arc::clone(time))
    }

    pub(crate) fn len(&self) -> usize {
        self.map().len()
    }
}
