//! A returned picture track: packets → access units → pictures → code strips.

use super::{Ingest, Told, TrackNumber, bitrate};
use crate::codec::VideoDecoder;
use crate::picture::Picture;
use crate::report::VideoReport;
use crate::sink::Ivf;
use crate::stats::{Gaps, Order, Place, Spread};
use crate::strip;
use remotemedia_rtp::{Packet, video};
use remotemedia_shm_schema::Codec;
use remotemedia_worker::monotonic_ns;
use std::path::PathBuf;
use tokio::sync::mpsc;

/// The thread's state.
#[derive(Debug)]
pub struct VideoTrack {
    number: TrackNumber,
    codec: Codec,
    tell: mpsc::Sender<Told>,
    ingest: video::Ingest,
    decoder: VideoDecoder,
    unit: Vec<u8>,
    picture: Picture,
    save: Option<PathBuf>,
    sink: Option<Ivf>,
    /// The first unit's RTP time, and the last one's as a count that does not wrap.
    times: Option<(u32, u64)>,
    order: Order,
    highest: u32,
    latency: Spread,
    gaps: Gaps,
    decoded: u64,
    unreadable: u64,
    errors: u64,
    first_ns: Option<u64>,
    last_ns: u64,
}

impl VideoTrack {
    /// A track of this codec.
    ///
    /// # Errors
    /// When the codec cannot be started.
    pub fn new(
        number: TrackNumber,
        codec: Codec,
        save: Option<PathBuf>,
        tell: mpsc::Sender<Told>,
    ) -> Result<Self, String> {
        Ok(Self {
            number,
            codec,
            tell,
            ingest: video::Ingest::new(codec, video::Settings::default())
                .map_err(|e| e.to_string())?,
            decoder: VideoDecoder::new(codec).map_err(|e| e.to_string())?,
            unit: Vec::new(),
            picture: Picture::black(2, 2),
            save,
            sink: None,
            times: None,
            order: Order::new(u64::from(strip::NUMBERS)),
            highest: 0,
            latency: Spread::default(),
            gaps: Gaps::default(),
            decoded: 0,
            unreadable: 0,
            errors: 0,
            first_ns: None,
            last_ns: 0,
        })
    }

    /// What came of it.
    #[must_use]
    pub fn finish(mut self) -> VideoReport {
        if let Some(Err(error)) = self.sink.take().map(Ivf::finish) {
            tracing::error!(%error, "the picture could not be saved whole");
        }
        let stats = self.ingest.stats();
        let shown = self.decoded > 0;
        VideoReport {
            // By its numbers: what its sender, whoever that is, had sent when the last of it came.
            sent: if self.order.distinct() > 0 { u64::from(self.highest) + 1 } else { 0 },
            received: self.decoded,
            lost: self.order.lost(),
            out_of_order: self.order.out_of_order(),
            duplicates: self.order.duplicates(),
            unreadable: self.unreadable,
            latency_ms: self.latency.latency(),
            gap_ms: self.gaps.spread().gap(),
            width: shown.then(|| self.picture.width()),
            height: shown.then(|| self.picture.height()),
            codec: Some(self.codec.name()),
            bitrate: bitrate(stats.bytes, self.first_ns, self.last_ns),
            keyframes: stats.keyframes,
            keyframes_wanted: stats.keyframe_requests,
            errors: self.errors + stats.malformed,
        }
    }

    fn unit(&mut self, unit: video::AccessUnit) {
        self.unit.resize(unit.len(), 0);
        unit.write_to(&mut self.unit);
        let decoded = self.decoder.decode(&self.unit, &mut self.picture);
        // The time is taken before anything is made of the picture.
        let now = monotonic_ns();
        match decoded {
            Ok(Some(shown)) => {
                self.shown(now);
                if shown.damaged {
                    self.ingest.want_keyframe();
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, "a unit was not decoded");
                self.errors += 1;
                self.ingest.want_keyframe();
            }
        }
        self.save(unit.rtp_time);
        self.ingest.recycle(unit);
    }

    fn shown(&mut self, now: u64) {
        if self.decoded == 0 {
            // The call waits for nothing else with more than a few messages, so there is room.
            let _ = self.tell.try_send(Told::FirstPicture(now));
        }
        self.decoded += 1;
        self.gaps.push(now);
        let Some(code) = strip::read(&self.picture.plane(0)) else {
            self.unreadable += 1;
            return;
        };
        match self.order.push(u64::from(code.number)) {
            Place::New => {
                self.highest = code.number;
                self.latency(code, now);
            }
            Place::Late => self.latency(code, now),
            // A picture that is held or repeated is not late: it is old on purpose.
            Place::Again => {}
        }
    }

    fn latency(&mut self, code: strip::Code, now: u64) {
        if let Some(age) = code.age_ns(now) {
            self.latency.record_ns(age);
        }
    }

    fn save(&mut self, rtp_time: u32) {
        if let Some(path) = self.save.as_deref().filter(|_| self.decoded > 0) {
            match Ivf::create(path, self.codec, self.picture.width(), self.picture.height()) {
                Ok(sink) => self.sink = Some(sink),
                Err(error) => tracing::error!(%error, ?path, "the picture cannot be saved"),
            }
            self.save = None;
        }
        let Some(sink) = &mut self.sink else { return };
        let time = match self.times {
            None => 0,
            // The nearest of the two ways round the circle of RTP time.
            Some((last, time)) => {
                time.saturating_add_signed(i64::from(rtp_time.wrapping_sub(last) as i32))
            }
        };
        self.times = Some((rtp_time, time));
        if let Err(error) = sink.write(&self.unit, time) {
            tracing::error!(%error, "the picture is not saved any further");
            self.sink = None;
        }
    }
}

impl Ingest for VideoTrack {
    fn push(&mut self, packet: Packet) {
        self.first_ns.get_or_insert(packet.arrival_ns);
        self.last_ns = self.last_ns.max(packet.arrival_ns);
        self.ingest.push(monotonic_ns(), packet);
    }

    fn drain(&mut self) {
        while let Some(output) = self.ingest.poll(monotonic_ns()) {
            match output {
                video::Output::Unit(unit) => self.unit(unit),
                video::Output::KeyframeNeeded => {
                    // Full is a call that does not read any more.
                    let _ = self.tell.try_send(Told::KeyframeWanted(self.number));
                }
            }
        }
    }

    fn wake_at(&self) -> Option<u64> {
        self.ingest.wake_at()
    }

    fn holds(&self) -> bool {
        self.ingest.buffered().0 > 0
    }
}
