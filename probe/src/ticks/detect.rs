//! Finds ticks in received sound: a matched filter for the chirp, then the tones.

use super::{LENGTH, PITCHES, RATE, SYNC, SYNC_GAP, TONE, TONE_STEP, TONES};
use super::{chirp, number, window};
use std::collections::VecDeque;

/// Share of a window's energy that must lie in the chirp for it to count as one; noise and speech stay far below.
const MIN_MATCH: f32 = 0.55;
/// Mean square below which nothing is looked for: -66 dBFS.
const MIN_POWER: f32 = 2.5e-7;
/// A better match within this many samples replaces the one before: main and side lobes of one chirp.
const SETTLE: usize = 240;
/// The loudest pitch of a digit must hold this many times the energy of the next.
const MIN_LEAD: f64 = 3.0;
/// Blocks whose arrival is remembered: 2 s of 10 ms frames, far above a tick's length.
const MAX_ARRIVALS: usize = 200;

/// A tick that was heard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heard {
    /// Its number, below [`super::NUMBERS`].
    pub number: u8,
    /// Where it begins, in samples since the detector began.
    pub position: f64,
    /// When that sample arrived: its block's arrival and its place in the block.
    pub arrival_ns: u64,
}

/// Takes sound block by block, gives ticks.
#[derive(Debug)]
pub struct Detector {
    sine: Vec<f32>,
    cosine: Vec<f32>,
    /// Energy of the chirp.
    energy: f32,
    tones: [(Vec<f64>, Vec<f64>); 4],
    /// Samples from `begin` on.
    samples: Vec<f32>,
    begin: u64,
    /// The next window to try, relative to `begin`.
    next: usize,
    best: Option<Match>,
    arrivals: VecDeque<(u64, u64)>,
    unreadable: u64,
}

#[derive(Debug, Clone, Copy)]
struct Match {
    at: usize,
    before: f32,
    score: f32,
    after: f32,
}

impl Default for Detector {
    fn default() -> Self {
        let (sine, cosine) = chirp();
        let tones = PITCHES.map(|pitch| {
            (0..TONE)
                .map(|i| {
                    let phase = std::f64::consts::TAU * pitch * i as f64 / f64::from(RATE);
                    let shape = window(i, TONE, 0.5);
                    (phase.sin() * shape, phase.cos() * shape)
                })
                .unzip()
        });
        let energy = 0.5 * (dot(&sine, &sine) + dot(&cosine, &cosine));
        Self {
            sine,
            cosine,
            energy,
            tones,
            samples: Vec::new(),
            begin: 0,
            next: 0,
            best: None,
            arrivals: VecDeque::new(),
            unreadable: 0,
        }
    }
}

impl Detector {
    /// Takes a block of mono samples that arrived (was decoded) at a time, and gives the ticks that are complete.
    pub fn push(&mut self, block: &[f32], arrival_ns: u64, mut heard: impl FnMut(Heard)) {
        if block.is_empty() {
            return;
        }
        if self.arrivals.len() >= MAX_ARRIVALS {
            self.arrivals.pop_front();
        }
        self.arrivals.push_back((self.begin + self.samples.len() as u64, arrival_ns));
        self.samples.extend_from_slice(block);
        self.search(&mut heard);
        // Everything before the window under test, or before the tick being settled, is done with.
        let done = self.best.map_or(self.next, |b| b.at).saturating_sub(1);
        if done > 8 * SYNC {
            self.samples.drain(..done);
            self.begin += done as u64;
            self.next -= done;
            if let Some(best) = &mut self.best {
                best.at -= done;
            }
        }
    }

    /// Chirps whose tones could not be read.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    fn search(&mut self, heard: &mut impl FnMut(Heard)) {
        loop {
            if let Some(best) = self.best
                && self.next > best.at + SETTLE
            {
                // The chirp's place is settled; its tones may still be on the way.
                if self.samples.len() < best.at + LENGTH + TONE / 8 {
                    return;
                }
                self.best = None;
                match self.read(best) {
                    Some(tick) => {
                        heard(tick);
                        self.next = best.at + LENGTH - SYNC_GAP;
                    }
                    None => self.unreadable += 1,
                }
            }
            if self.next + SYNC + 1 > self.samples.len() {
                return;
            }
            let score = self.score(self.next);
            if score >= MIN_MATCH && self.best.is_none_or(|best| score > best.score) {
                let before = self.next.checked_sub(1).map_or(0.0, |at| self.score(at));
                let after = self.score(self.next + 1);
                self.best = Some(Match { at: self.next, before, score, after });
            }
            self.next += 1;
        }
    }

    /// How much of the window at `at` is the chirp, 0 to 1.
    fn score(&self, at: usize) -> f32 {
        let Some(window) = self.samples.get(at..at + SYNC) else { return 0.0 };
        let energy = dot(window, window);
        if energy < MIN_POWER * SYNC as f32 {
            return 0.0;
        }
        let (s, c) = (dot(window, &self.sine), dot(window, &self.cosine));
        ((s * s + c * c) / (self.energy * energy)).sqrt()
    }

    fn read(&self, found: Match) -> Option<Heard> {
        let mut digits = [0u8; TONES];
        for (n, digit) in digits.iter_mut().enumerate() {
            let from = found.at + SYNC + SYNC_GAP + n * TONE_STEP;
            let window = self.samples.get(from..from + TONE)?;
            let power = self.tones.each_ref().map(|(sine, cosine)| {
                let along = |tone: &[f64]| -> f64 {
                    window.iter().zip(tone).map(|(&a, &b)| f64::from(a) * b).sum()
                };
                along(sine).powi(2) + along(cosine).powi(2)
            });
            let (loudest, most) =
                power.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
            let next = power
                .iter()
                .enumerate()
                .filter(|(i, _)| *i != loudest)
                .map(|(_, p)| *p)
                .fold(0.0, f64::max);
            if most < MIN_LEAD * next {
                return None;
            }
            *digit = loudest as u8;
        }
        let number = number(digits)?;
        // The peak of a parabola through the three matches around the best.
        let curve = found.before - 2.0 * found.score + found.after;
        let shift = if curve < 0.0 { 0.5 * (found.before - found.after) / curve } else { 0.0 };
        let position = self.begin as f64 + found.at as f64 + f64::from(shift.clamp(-0.5, 0.5));
        Some(Heard { number, position, arrival_ns: self.arrival(position)? })
    }

    fn arrival(&self, position: f64) -> Option<u64> {
        let (first, ns) =
            self.arrivals.iter().rev().find(|(first, _)| *first as f64 <= position.max(0.0))?;
        let within = (position - *first as f64).max(0.0) * 1e9 / f64::from(RATE);
        Some(ns + within as u64)
    }
}

/// Sum of products in eight independent sums, which the compiler keeps in vector registers.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; 8];
    let (heads, tails) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = heads.remainder().iter().zip(tails.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in heads.zip(tails) {
        for ((sum, p), q) in sums.iter_mut().zip(x).zip(y) {
            *sum += p * q;
        }
    }
    sums.iter().sum::<f32>() + rest
}
