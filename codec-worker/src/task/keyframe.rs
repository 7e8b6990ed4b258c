//! When an encoder makes a keyframe: soon after it was asked, but not for each of many who ask.

/// Nanoseconds of media between two keyframes that were asked for (DESIGN.md).
const APART_NS: u64 = 500_000_000;

/// Gathers wishes for keyframes.
#[derive(Debug, Default)]
pub(super) struct Gate {
    wanted: bool,
    at_once: bool,
    last_ns: Option<u64>,
}

impl Gate {
    /// Somebody wants one.
    pub(super) fn ask(&mut self) {
        self.wanted = true;
    }

    /// Nothing can be shown before one: the channel behind the encoder is another one.
    pub(super) fn ask_at_once(&mut self) {
        self.at_once = true;
    }

    /// Whether the picture of this media time is to be one.
    pub(super) fn due(&self, media_time_ns: u64) -> bool {
        // A time before the last keyframe's is of another source, and says nothing about how long ago that was.
        let long_ago = self.last_ns.is_none_or(|last| {
            media_time_ns.checked_sub(last).is_none_or(|since| since >= APART_NS)
        });
        self.at_once || (self.wanted && long_ago)
    }

    /// The picture of this media time became one, and all wishes so far are met.
    pub(super) fn made(&mut self, media_time_ns: u64) {
        *self = Self { wanted: false, at_once: false, last_ns: Some(media_time_ns) };
    }
}

#[cfg(test)]
mod tests {
    use super::Gate;

    const MS: u64 = 1_000_000;

    #[test]
    fn many_who_ask_get_one_keyframe_and_the_next_half_a_second_later() {
        let mut gate = Gate::default();
        assert!(!gate.due(0), "nobody asked");
        gate.made(1000 * MS);
        gate.ask();
        gate.ask();
        assert!(!gate.due(1033 * MS));
        assert!(!gate.due(1499 * MS));
        assert!(gate.due(1500 * MS), "the wish is kept until it may be met");
        gate.made(1500 * MS);
        assert!(!gate.due(1533 * MS));
        assert!(!gate.due(9000 * MS), "met once");
        gate.ask();
        assert!(gate.due(9033 * MS), "at once after a while");
    }

    #[test]
    fn a_wish_is_met_at_once_on_a_new_channel_and_when_time_goes_back() {
        let mut gate = Gate::default();
        gate.made(1000 * MS);
        gate.ask_at_once();
        assert!(gate.due(1001 * MS));
        gate.made(1001 * MS);
        assert!(!gate.due(1002 * MS));
        gate.ask();
        assert!(gate.due(3 * MS));
    }
}
