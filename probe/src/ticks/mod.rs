//! Sound with coded ticks, from which a receiver tells how old each sample is.
//!
//! A tick is a chirp whose place a matched filter finds to a fraction of a millisecond, followed by six tones of four
//! pitches: the tick's number modulo 64 in a code where two numbers differ in four tones at least. All of it lies between 800 Hz and 4 kHz, where any
//! speech codec spends its bits. Ticks stand on the machine's monotonic clock: tick `k` begins at sample
//! `k * PERIOD` of a 48 kHz line whose sample 0 is the clock's zero. So whoever hears number `n` knows, on the same
//! machine, when it was due, whichever process sent it; certain for 64 ticks, 6.5 s.
//! [`certain`] draws the line at five seconds.

mod detect;
mod generate;

pub use detect::{Detector, Heard};
pub use generate::Generator;

/// Samples a second of the line that ticks stand on.
pub const RATE: u32 = 48_000;
/// Samples from tick to tick. Not a multiple of any codec's frame, so that ticks fall on every place in a frame.
pub const PERIOD: u64 = 4_877;
/// Ticks that have a number of their own.
pub const NUMBERS: u64 = 64;

/// Samples of the chirp: 10 ms.
const SYNC: usize = 480;
/// Samples of silence behind the chirp.
const SYNC_GAP: usize = 96;
/// Samples of a tone: 8 ms, which tells pitches 125 Hz apart from one another.
const TONE: usize = 384;
/// Samples from tone to tone.
const TONE_STEP: usize = 432;
/// Three digits of the number and three check digits.
const TONES: usize = 6;
/// Hertz of the digits 0 to 3.
const PITCHES: [f64; 4] = [900.0, 1_500.0, 2_100.0, 2_700.0];
/// Hertz that the chirp begins and ends with.
const SWEEP: (f64, f64) = (800.0, 4_000.0);
/// Samples from a tick's begin to the end of its last tone.
const LENGTH: usize = SYNC + SYNC_GAP + TONES * TONE_STEP;

const _: () = assert!(LENGTH as u64 + 480 < PERIOD, "a tick must end before the next begins");

/// Nanoseconds of the monotonic clock at which a sample of the line is due.
#[must_use]
pub fn due_ns(sample: u64) -> u64 {
    // 1e9 / 48,000 = 62,500 / 3; a century of samples stays within 64 bits.
    sample.saturating_mul(62_500) / 3
}

/// The first sample of the line that is due at or after a time.
#[must_use]
pub fn sample_at(ns: u64) -> u64 {
    (u128::from(ns) * 3).div_ceil(62_500) as u64
}

/// Which tick of the line it was, the latest of its number, if it was heard at `arrival_ns`.
#[must_use]
pub fn tick_of(number: u8, arrival_ns: u64) -> u64 {
    let latest = sample_at(arrival_ns) / PERIOD;
    let behind = (latest % NUMBERS + NUMBERS - u64::from(number) % NUMBERS) % NUMBERS;
    latest.saturating_sub(behind)
}

/// The time at which the tick that was heard had been due, if it was heard at `arrival_ns`.
#[must_use]
pub fn due_of(number: u8, arrival_ns: u64) -> u64 {
    due_ns(tick_of(number, arrival_ns) * PERIOD)
}

/// Whether an age lies where no other tick could have been meant; with a margin for misreading one of the future.
#[must_use]
pub fn certain(age_ns: u64) -> bool {
    age_ns <= 5_000_000_000
}

/// Added to the digits, so that a tick read one tone too early or too late, as an echo would have it, is no tick.
const MASK: [u8; TONES] = [0, 1, 3, 0, 2, 1];

/// The hexacode: three digits of the field of four, and the polynomial of them at 1, w and w².
fn digits(number: u8) -> [u8; TONES] {
    let (a, b, c) = (number >> 4 & 3, number >> 2 & 3, number & 3);
    let code = [a, b, c, a ^ b ^ c, by_w(by_w(a)) ^ by_w(b) ^ c, by_w(a) ^ by_w(by_w(b)) ^ c];
    std::array::from_fn(|i| code[i] ^ MASK[i])
}

fn number(heard: [u8; TONES]) -> Option<u8> {
    let [a, b, c, ..]: [u8; TONES] = std::array::from_fn(|i| heard[i] ^ MASK[i]);
    let number = a << 4 | b << 2 | c;
    (digits(number) == heard).then_some(number)
}

/// Multiplies by the element w of the field of four, whose elements are 0, 1, w = 2 and w + 1 = 3.
fn by_w(digit: u8) -> u8 {
    [0, 2, 3, 1][usize::from(digit & 3)]
}

/// The chirp and its quadrature: correlating with both finds it whatever a codec did to its phase.
fn chirp() -> (Vec<f32>, Vec<f32>) {
    let rate = f64::from(RATE);
    let (low, high) = SWEEP;
    let slope = (high - low) / (SYNC as f64 / rate);
    (0..SYNC)
        .map(|i| {
            let t = i as f64 / rate;
            let phase = std::f64::consts::TAU * (low * t + slope * t * t / 2.0);
            let shape = window(i, SYNC, 0.25);
            ((phase.sin() * shape) as f32, (phase.cos() * shape) as f32)
        })
        .unzip()
}

/// A flat top with raised-cosine flanks, each this share of the length.
fn window(i: usize, length: usize, flank: f64) -> f64 {
    let place = (i as f64 + 0.5) / length as f64;
    let edge = place.min(1.0 - place) / flank;
    if edge >= 1.0 { 1.0 } else { 0.5 - 0.5 * (std::f64::consts::PI * edge).cos() }
}

#[cfg(test)]
mod tests;
