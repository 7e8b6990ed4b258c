//! Numbers that wrap, unwrapped: each value becomes the nearest one to the last.

/// Unwraps 16-bit sequence numbers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sequence {
    last: Option<i64>,
}

impl Sequence {
    /// The value nearest to the last remembered one; nothing is remembered.
    pub(crate) fn near(&self, value: u16) -> i64 {
        match self.last {
            None => i64::from(value),
            // The cast to i16 takes the shorter way around the circle.
            Some(last) => last.wrapping_add(i64::from(value.wrapping_sub(last as u16) as i16)),
        }
    }

    /// Remembers an extended value as the last one.
    pub(crate) fn set(&mut self, extended: i64) {
        self.last = Some(extended);
    }

    /// The last remembered one.
    pub(crate) fn last(&self) -> Option<i64> {
        self.last
    }
}

/// Unwraps 32-bit timestamps.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Timestamp {
    last: Option<i64>,
}

impl Timestamp {
    /// The value nearest to the last remembered one; nothing is remembered.
    pub(crate) fn near(&self, value: u32) -> i64 {
        match self.last {
            None => i64::from(value),
            Some(last) => last.wrapping_add(i64::from(value.wrapping_sub(last as u32) as i32)),
        }
    }

    /// Remembers an extended value as the last one.
    pub(crate) fn set(&mut self, extended: i64) {
        self.last = Some(extended);
    }

    /// The last remembered one.
    pub(crate) fn last(&self) -> Option<i64> {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::{Sequence, Timestamp};

    #[test]
    fn a_sequence_number_goes_the_shorter_way_around() {
        let mut unwrap = Sequence::default();
        assert_eq!(unwrap.near(65_534), 65_534);
        unwrap.set(65_534);
        assert_eq!(unwrap.near(1), 65_537);
        unwrap.set(65_537);
        assert_eq!(unwrap.near(65_535), 65_535);
        unwrap.set(2);
        assert_eq!(unwrap.near(65_535), -1);
    }

    #[test]
    fn a_timestamp_goes_the_shorter_way_around() {
        let mut unwrap = Timestamp::default();
        unwrap.set(i64::from(u32::MAX));
        assert_eq!(unwrap.near(2999), i64::from(u32::MAX) + 3000);
        assert_eq!(unwrap.near(u32::MAX - 10), i64::from(u32::MAX) - 10);
    }
}
