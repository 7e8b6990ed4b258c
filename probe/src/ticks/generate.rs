//! Makes the sound: any sample of the line, from its number alone.

use super::{LENGTH, NUMBERS, PERIOD, PITCHES, RATE, SYNC, SYNC_GAP, TONE, TONE_STEP};
use super::{chirp, digits, window};

/// Peak of a tick; leaves headroom for a gain node of +6 dB.
const PEAK: f32 = 0.4;

/// Fills blocks with the tick line.
#[derive(Debug)]
pub struct Generator {
    sync: Vec<f32>,
    tones: [Vec<f32>; 4],
}

impl Default for Generator {
    fn default() -> Self {
        let mut sync = chirp().0;
        sync.iter_mut().for_each(|s| *s *= PEAK);
        let tones = PITCHES.map(|pitch| {
            (0..TONE)
                .map(|i| {
                    let phase = std::f64::consts::TAU * pitch * i as f64 / f64::from(RATE);
                    (phase.sin() * window(i, TONE, 0.25)) as f32 * PEAK
                })
                .collect()
        });
        Self { sync, tones }
    }
}

impl Generator {
    /// Writes mono samples of the line, from sample `first` on.
    pub fn fill(&self, first: u64, out: &mut [f32]) {
        for (sample, at) in out.iter_mut().zip(first..) {
            *sample = self.sample(at);
        }
    }

    fn sample(&self, at: u64) -> f32 {
        let offset = (at % PERIOD) as usize;
        if offset >= LENGTH {
            return 0.0;
        }
        if let Some(&value) = self.sync.get(offset) {
            return value;
        }
        let Some(behind) = offset.checked_sub(SYNC + SYNC_GAP) else { return 0.0 };
        let number = (at / PERIOD % NUMBERS) as u8;
        digits(number)
            .get(behind / TONE_STEP)
            .and_then(|&digit| self.tones.get(usize::from(digit)))
            .and_then(|tone| tone.get(behind % TONE_STEP))
            .copied()
            .unwrap_or(0.0)
    }
}
