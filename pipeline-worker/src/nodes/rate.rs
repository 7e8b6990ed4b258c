//! `FrameRate`: lets no more than so many pictures a second pass.
//!
//! By media time, and by an account: time that passes is paid in, a picture that passes takes its period out. What is left
//! over counts for the next one, so that none is lost and none is gained in the long run, whatever the two rates. The
//! picture that is nearest to its time passes, as a camera's times are not quite even.

use crate::node::{Moment, Node, NodeError, Way};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much of the time between two pictures one may come before its time: half, but less after one that was not early and
/// more after one that was, so that pictures which lie halfway do not pass and stay out by turns (chosen: of 30 a second
/// the times may be 4 ms off).
const EARLY: [f64; 2] = [0.375, 0.625];
/// The most that the account holds, in periods. With less, pictures at almost this rate whose times jump would lose some of
/// it; with more, they would come in a burst after a pause.
const MOST: f64 = 2.5;

/// How many.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FrameRateParams {
    /// Pictures a second at most.
    #[schemars(range(min = 0.1, max = 240.0))]
    pub fps: f32,
}

impl Default for FrameRateParams {
    fn default() -> Self {
        Self { fps: 30.0 }
    }
}

/// The node.
#[derive(Debug)]
pub struct FrameRate {
    period_ns: f64,
    /// Nanoseconds that are paid in.
    account: f64,
    /// Whether the last picture that passed came before its time.
    early: bool,
    /// The last picture's media time, whether it passed or not.
    last_ns: Option<u64>,
}

impl Node for FrameRate {
    type Params = FrameRateParams;
    const KIND: &'static str = "FrameRate";
    const SUMMARY: &'static str = "Lets no more than so many pictures a second pass, evenly.";
    const VIDEO: bool = true;
    const AUDIO: bool = false;

    fn new(params: &FrameRateParams) -> Result<Self, NodeError> {
        let period_ns = 1e9 / f64::from(params.fps);
        Ok(Self { period_ns, account: 0.0, early: false, last_ns: None })
    }

    fn configure(&mut self, params: &FrameRateParams) -> Result<(), NodeError> {
        self.period_ns = 1e9 / f64::from(params.fps);
        Ok(())
    }

    fn way(&self) -> Way {
        Way::HandsOn
    }

    fn admits(&mut self, moment: &Moment) -> bool {
        let now = moment.media_time_ns;
        let apart = match self.last_ns.replace(now) {
            Some(last) if last <= now => (now - last) as f64,
            // The first one, and the first after time was set back, passes.
            Some(_) | None => {
                (self.account, self.early) = (0.0, false);
                return true;
            }
        };
        self.account = (self.account + apart).min(MOST * self.period_ns);
        let room = apart.min(self.period_ns) * EARLY[usize::from(self.early)];
        let due = self.account + room >= self.period_ns;
        if due {
            self.early = self.account < self.period_ns;
            self.account -= self.period_ns;
        }
        due
    }
}
