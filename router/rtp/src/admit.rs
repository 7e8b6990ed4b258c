//! Which packets belong to the stream, and where in it: a changed SSRC, a jump of the sequence, and what is neither.
//!
//! Follows RFC 3550 appendix A.1: a sequence number far off is believed only when the next one follows it.

use crate::{MS, Packet, wrap::Sequence};

/// Packets that a sequence may go ahead by in one step (RFC 3550 appendix A.1).
const MAX_DROPOUT: i64 = 3000;
/// Packets that one may come too late by; later ones are taken for a jump (RFC 3550 has 100, which a
/// retransmission over a long path exceeds: 1 s of 1000 packets/s).
const MAX_MISORDER: i64 = 1000;
/// After a change of SSRC stragglers of the old one are dropped for this long, instead of changing back (chosen).
const STRAGGLERS_NS: u64 = 1000 * MS;

/// What to do with a packet.
#[derive(Debug)]
pub(crate) enum Admitted {
    /// Take it at this place.
    Take(i64, Packet),
    /// Begin anew with it at this place; `held` is the one before it that was in doubt.
    Restart { at: i64, packet: Packet, held: Option<Packet> },
    /// In doubt until the next one.
    Held,
    /// Of the SSRC that was before.
    Straggler,
}

/// The stream as it is known.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    ssrc: Option<u32>,
    before: Option<(u32, u64)>,
    highest: Sequence,
    doubted: Option<Packet>,
}

impl Admission {
    pub(crate) fn admit(&mut self, now_ns: u64, packet: Packet) -> Admitted {
        if self.ssrc != Some(packet.ssrc) {
            if let Some((old, until_ns)) = self.before
                && old == packet.ssrc
                && now_ns < until_ns
            {
                return Admitted::Straggler;
            }
            self.before = self.ssrc.map(|old| (old, now_ns.saturating_add(STRAGGLERS_NS)));
            self.ssrc = Some(packet.ssrc);
            return self.restart(packet, None);
        }
        let (Some(highest), at) = (self.highest.last(), self.highest.near(packet.sequence)) else {
            return self.restart(packet, None);
        };
        if at > highest + MAX_DROPOUT || at < highest - MAX_MISORDER {
            return match self.doubted.take() {
                Some(held) if packet.sequence == held.sequence.wrapping_add(1) => {
                    self.restart(packet, Some(held))
                }
                _ => {
                    self.doubted = Some(packet);
                    Admitted::Held
                }
            };
        }
        self.doubted = None;
        if at > highest {
            self.highest.set(at);
        }
        Admitted::Take(at, packet)
    }

    fn restart(&mut self, packet: Packet, held: Option<Packet>) -> Admitted {
        // Far from zero, so that places before the first are positive too.
        let at = (1 << 32) + i64::from(packet.sequence);
        self.highest.set(at);
        self.doubted = None;
        Admitted::Restart { at, packet, held }
    }
}
