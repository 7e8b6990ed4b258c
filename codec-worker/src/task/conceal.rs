//! How long made-up sound goes on, and how it fades: a listener forgives a short gap filled with what was before, and
//! hears a long one as a machine.

use crate::sound::{GRAIN, MAX_SAMPLES, RATE};

/// Samples of a lost stretch that are made up in full: 200 ms (chosen; five of the longest common packets).
pub(super) const LOST: usize = RATE as usize / 5;
/// Samples of a silent stretch (DTX) that are filled with Opus's background noise: the sender refreshes it every 400 ms.
pub(super) const SILENT: usize = RATE as usize;
/// Samples over which it fades behind that, 100 ms.
const FADE: usize = RATE as usize / 10;

/// Counts a stretch of made-up sound.
#[derive(Debug, Default)]
pub(super) struct Stretch {
    samples: usize,
}

impl Stretch {
    /// Real sound came.
    pub(super) fn end(&mut self) {
        self.samples = 0;
    }

    /// Whether the next block of the stretch is nothing but zeros.
    pub(super) fn faded(&self, full: usize) -> bool {
        self.samples >= full + FADE
    }

    /// Takes a made-up block into the stretch, and fades it as far as the stretch is.
    pub(super) fn shape(&mut self, block: &mut [f32], channels: usize, full: usize) {
        for (index, sample) in block.chunks_mut(channels.max(1)).enumerate() {
            let over = (self.samples + index).saturating_sub(full);
            if over > 0 {
                let gain = 1.0 - (over.min(FADE) as f32 / FADE as f32);
                sample.iter_mut().for_each(|s| *s *= gain);
            }
        }
        let samples = block.len() / channels.max(1);
        self.samples = self.samples.saturating_add(samples).min(full + FADE);
    }
}

/// Samples of a stretch of `duration_ns`, as Opus can make them; `usual` where it is not told.
pub(super) fn samples_of(duration_ns: u64, usual: usize) -> usize {
    if duration_ns == 0 {
        return usual;
    }
    let longest = MAX_SAMPLES as u64 * 1_000_000_000 / u64::from(RATE);
    let samples = duration_ns.min(longest) * u64::from(RATE) / 1_000_000_000;
    // To the nearest: 20 ms may be told as 19,999,999 ns.
    let grains = (samples as usize + GRAIN / 2) / GRAIN;
    (grains * GRAIN).clamp(GRAIN, MAX_SAMPLES)
}

#[cfg(test)]
mod tests {
    use super::{FADE, LOST, Stretch, samples_of};

    #[test]
    fn any_duration_gives_a_length_that_opus_can_make() {
        let cases = [
            (0, 960),
            (1, 120),
            (2_500_000, 120),
            (9_999_999, 480),
            (20_000_000, 960),
            (20_000_001, 960),
            (21_333_333, 1080),
            (60_000_000, 2880),
            (120_000_000, 5760),
            (u64::MAX, 5760),
        ];
        for (ns, samples) in cases {
            assert_eq!(samples_of(ns, 960), samples, "{ns} ns");
        }
    }

    #[test]
    fn a_long_gap_fades_to_nothing_and_real_sound_ends_it() {
        let mut stretch = Stretch::default();
        let mut heard = vec![];
        while !stretch.faded(LOST) {
            let mut block = [1.0f32; 960 * 2];
            stretch.shape(&mut block, 2, LOST);
            heard.extend(block);
        }
        assert!(heard.len() <= (LOST + FADE + 960) * 2);
        assert!(heard[..LOST * 2].iter().all(|s| *s == 1.0));
        assert!(heard.windows(2).all(|w| w[1] <= w[0]), "only ever quieter");
        assert!(heard.last().is_some_and(|s| *s < 0.001));
        stretch.end();
        let mut block = [1.0f32; 960];
        stretch.shape(&mut block, 1, LOST);
        assert!(block.iter().all(|s| *s == 1.0));
    }
}
