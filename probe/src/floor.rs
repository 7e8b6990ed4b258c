//! The floor of a call: the same work in one process, without network, workers and shared memory.
//!
//! Sender's encoder → decoder → effect → encoder → receiver's decoder, one picture after another on one thread, paced
//! like a call. A bench prints its figures beside a call's, so that what is left over is the router's own.

use crate::codec::{AudioDecoder, AudioEncoder, CodecFault, VideoDecoder, VideoEncoder};
use crate::picture::{Picture, luma_psnr};
use crate::report::Latency;
use crate::source::{Sound, Video};
use crate::stats::Spread;
use crate::strip::{self, Code};
use crate::ticks::{self, Detector};
use remotemedia_shm_schema::Codec;
use remotemedia_worker::monotonic_ns;
use serde::Serialize;
use std::time::Duration;

/// What is done with pictures.
#[derive(Debug, Clone, Copy)]
pub struct VideoWork {
    /// How they are coded, both ways.
    pub codec: Codec,
    /// Bits a second, both ways.
    pub bitrate: u32,
    /// Pictures a second.
    pub fps: u32,
    /// How many in all.
    pub frames: u64,
    /// Whether to wait for each picture's time, as a call does; without it the work is done as fast as it goes.
    pub paced: bool,
}

/// Milliseconds that one step took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Step {
    /// Half of them were shorter.
    pub p50: Option<f64>,
    /// 95 of 100 were shorter.
    pub p95: Option<f64>,
    /// All of them over their number.
    pub mean: Option<f64>,
}

/// What the work on pictures came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct VideoFloor {
    /// Pictures that went all the way.
    pub frames: u64,
    /// Pictures whose code strip did not survive.
    pub unreadable: u64,
    /// Sender's encoder to receiver's decoder.
    pub latency_ms: Latency,
    /// The sender's encoder.
    pub encode_sent_ms: Step,
    /// The worker's decoder.
    pub decode_ms: Step,
    /// The effect.
    pub effect_ms: Step,
    /// The worker's encoder.
    pub encode_ms: Step,
    /// The receiver's decoder.
    pub decode_returned_ms: Step,
    /// CPU time of decode, effect and encode a picture: what a call's workers do.
    pub cpu_worker_ms: f64,
    /// The same in percent of one core at the frame rate.
    pub cpu_worker_percent: f64,
    /// CPU time of everything a picture.
    pub cpu_all_ms: f64,
    /// Luma of what was returned against the effect of what was sent, dB, mean.
    pub psnr_db: f64,
    /// Bits a second that the returned pictures took.
    pub bitrate: u64,
}

/// Does the work on pictures with an effect that changes a picture in place.
///
/// # Errors
/// When a codec fails.
pub fn video(
    source: &Video,
    work: VideoWork,
    mut effect: impl FnMut(&mut Picture),
) -> Result<VideoFloor, CodecFault> {
    let (width, height) = source.size();
    let encoder = || VideoEncoder::new(work.codec, work.bitrate, work.fps, (width, height));
    let (mut first, mut second) = (encoder()?, encoder()?);
    let mut decoders = (VideoDecoder::new(work.codec)?, VideoDecoder::new(work.codec)?);
    let mut sent = Picture::black(width, height);
    let mut ideal = Picture::black(width, height);
    let (mut between, mut returned) = (Picture::black(2, 2), Picture::black(2, 2));
    let mut steps: [Spread; 5] = Default::default();
    let mut latency = Spread::default();
    let mut floor = VideoFloor::default();
    let (mut worker_ns, mut all_ns, mut psnr, mut bytes) = (0u64, 0u64, 0.0, 0u64);
    let period = 1_000_000_000 / u64::from(work.fps.max(1));
    let begin = monotonic_ns();
    for number in 0..work.frames {
        let due = begin + number * period;
        if work.paced {
            std::thread::sleep(Duration::from_nanos(due.saturating_sub(monotonic_ns())));
        }
        source.fill(number, &mut sent);
        let (handed, cpu_begin) = (monotonic_ns(), thread_cpu_ns());
        strip::stamp(&mut sent, Code::at(number as u32, handed));
        let Some(unit) = first.encode(&sent, due, false)? else { continue };
        let mut laps = Laps::new(handed);
        laps.lap(&mut steps[0]);
        let cpu_worker = thread_cpu_ns();
        if decoders.0.decode(unit.bytes, &mut between)?.is_none() {
            continue;
        }
        laps.lap(&mut steps[1]);
        effect(&mut between);
        laps.lap(&mut steps[2]);
        let Some(unit) = second.encode(&between, due, false)? else { continue };
        bytes += unit.bytes.len() as u64;
        laps.lap(&mut steps[3]);
        worker_ns += thread_cpu_ns().saturating_sub(cpu_worker);
        if decoders.1.decode(unit.bytes, &mut returned)?.is_none() {
            continue;
        }
        let done = laps.lap(&mut steps[4]);
        all_ns += thread_cpu_ns().saturating_sub(cpu_begin);
        floor.frames += 1;
        latency.record_ns(done - handed);
        if strip::read(&returned.plane(0)).is_none() {
            floor.unreadable += 1;
        }
        ideal.copy_from(&sent);
        effect(&mut ideal);
        psnr += luma_psnr(&ideal.plane(0), &returned.plane(0));
    }
    let count = floor.frames.max(1) as f64;
    let [encode_sent, decode, effected, encode, decode_returned] = steps.each_ref().map(step);
    floor.latency_ms = latency.latency();
    floor.encode_sent_ms = encode_sent;
    floor.decode_ms = decode;
    floor.effect_ms = effected;
    floor.encode_ms = encode;
    floor.decode_returned_ms = decode_returned;
    floor.cpu_worker_ms = thousandth(worker_ns as f64 / count / 1e6);
    floor.cpu_worker_percent =
        thousandth(worker_ns as f64 / count / 1e9 * f64::from(work.fps) * 100.0);
    floor.cpu_all_ms = thousandth(all_ns as f64 / count / 1e6);
    floor.psnr_db = thousandth(psnr / count);
    floor.bitrate = (bytes as f64 * 8.0 / count * f64::from(work.fps)) as u64;
    Ok(floor)
}

/// What is done with sound.
#[derive(Debug, Clone, Copy)]
pub struct AudioWork {
    /// Milliseconds of a frame, 10 or 20.
    pub frame_ms: u32,
    /// Bits a second, both ways.
    pub bitrate: u32,
    /// How many frames in all.
    pub frames: u64,
    /// Whether to wait for each frame's time.
    pub paced: bool,
}

/// What the work on sound came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct AudioFloor {
    /// Ticks that were heard at the end.
    pub ticks: u64,
    /// Sample out to sample in: one frame, two look-aheads, and the work.
    pub latency_ms: Latency,
    /// CPU time of decode, effect and encode a frame.
    pub cpu_worker_ms: f64,
    /// The same in percent of one core.
    pub cpu_worker_percent: f64,
}

/// Does the work on ticks with an effect that changes a mono block at 48 kHz in place.
///
/// # Errors
/// When a codec fails.
pub fn audio(
    work: AudioWork,
    mut effect: impl FnMut(&mut [f32]),
) -> Result<AudioFloor, CodecFault> {
    let sound = Sound::ticks();
    let encoder = || AudioEncoder::new(1, work.bitrate);
    let (mut first, mut second) = (encoder()?, encoder()?);
    let mut decoders = (AudioDecoder::new(1)?, AudioDecoder::new(1)?);
    let samples = u64::from(work.frame_ms * ticks::RATE / 1_000).max(1);
    let mut block = vec![0f32; samples as usize];
    let mut detector = Detector::default();
    let (mut latency, mut floor, mut worker_ns) = (Spread::default(), AudioFloor::default(), 0u64);
    let begin = ticks::sample_at(monotonic_ns());
    for n in 0..work.frames {
        let at = begin + n * samples;
        let due = ticks::due_ns(at + samples);
        if work.paced {
            std::thread::sleep(Duration::from_nanos(due.saturating_sub(monotonic_ns())));
        }
        sound.fill(at, &mut block);
        let handed = monotonic_ns();
        let packet = first.encode(&block)?.to_vec();
        let cpu = thread_cpu_ns();
        decoders.0.decode(&packet, &mut block)?;
        effect(&mut block);
        let packet = second.encode(&block)?;
        worker_ns += thread_cpu_ns().saturating_sub(cpu);
        decoders.1.decode(packet, &mut block)?;
        let took = monotonic_ns() - handed;
        // Unpaced, a frame's time is not now: it arrives as late behind its due time as the work took.
        let arrival = if work.paced { monotonic_ns() } else { due + took };
        detector.push(&block, arrival, |heard| {
            let due = ticks::due_of(heard.number, heard.arrival_ns);
            let age = heard.arrival_ns.saturating_sub(due);
            if ticks::certain(age) {
                floor.ticks += 1;
                latency.record_ns(age);
            }
        });
    }
    let count = work.frames.max(1) as f64;
    floor.latency_ms = latency.latency();
    floor.cpu_worker_ms = thousandth(worker_ns as f64 / count / 1e6);
    floor.cpu_worker_percent =
        thousandth(worker_ns as f64 / count / 1e6 / f64::from(work.frame_ms.max(1)) * 100.0);
    Ok(floor)
}

/// Time from step to step.
struct Laps(u64);

impl Laps {
    fn new(begin_ns: u64) -> Self {
        Self(begin_ns)
    }

    /// Ends a step and gives the time.
    fn lap(&mut self, into: &mut Spread) -> u64 {
        let now = monotonic_ns();
        into.record_ns(now - self.0);
        self.0 = now;
        now
    }
}

fn step(spread: &Spread) -> Step {
    Step { p50: spread.quantile_ms(0.5), p95: spread.quantile_ms(0.95), mean: spread.mean_ms() }
}

fn thousandth(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// CPU time of this thread.
fn thread_cpu_ns() -> u64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(0, |time| {
        (time.tv_sec() as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec() as u64)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_same_work_in_one_process_is_measured_for_each_codec() {
        for codec in [Codec::Vp8, Codec::Vp9, Codec::H264] {
            let work = VideoWork { codec, bitrate: 500_000, fps: 30, frames: 20, paced: false };
            let floor = video(&Video::pattern(320, 180), work, |picture| {
                picture.plane_mut(1).fill(128);
                picture.plane_mut(2).fill(128);
            })
            .unwrap();
            assert_eq!((floor.frames, floor.unreadable), (20, 0), "{codec}");
            assert!(floor.latency_ms.p50.unwrap() > 0.0 && floor.cpu_worker_ms > 0.0);
            assert!(floor.cpu_all_ms >= floor.cpu_worker_ms);
            assert!(floor.psnr_db > 24.0, "{codec}: {} dB", floor.psnr_db);
        }
    }

    #[test]
    fn sound_in_one_process_is_late_by_a_frame_and_two_look_aheads() {
        for frame_ms in [10, 20] {
            let work = AudioWork {
                frame_ms,
                bitrate: 32_000,
                frames: 3_000 / u64::from(frame_ms),
                paced: false,
            };
            let floor = audio(work, |_| ()).unwrap();
            assert!(floor.ticks >= 27, "{floor:?}");
            let p50 = floor.latency_ms.p50.unwrap();
            // The work itself is the rest, and how long that takes is the machine's affair.
            assert!(p50 >= f64::from(frame_ms) + 12.8, "{floor:?}");
        }
    }
}
